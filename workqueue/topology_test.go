package workqueue_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

const definitions = `{"exchanges":[` +
	`{"name":"events","kind":"topic","alternate":"spare"},` +
	`{"name":"shards","kind":"hash","autoDelete":true,"hashHeader":"tenant"},` +
	`{"name":"spare","kind":"fanout","internal":true}],` +
	`"queues":[` +
	`{"name":"lost","deliveryLimit":20,"ackTimeout":1800000000000},` +
	`{"name":"mail","deliveryLimit":3,"deadLetter":{"key":"lost"},"ackTimeout":60000000000,"expires":3600000000000}],` +
	`"bindings":[` +
	`{"exchange":"events","key":"audit.#","topic":"audit"},` +
	`{"exchange":"events","key":"*.sharded","toExchange":"shards"},` +
	`{"exchange":"events","key":"mail.*","arguments":{"a":null,"b":"1"},"queue":"mail"},` +
	`{"exchange":"shards","key":"7","queue":"mail"},` +
	`{"exchange":"spare","queue":"lost"}]}`

func export(t testing.TB, b *workqueue.Broker) string {
	t.Helper()
	x, err := b.Export(bg)
	require.NoError(t, err)
	text, err := json.Marshal(x)
	require.NoError(t, err)
	return string(text)
}

func parse(t testing.TB, text string) *workqueue.Topology {
	t.Helper()
	x, err := workqueue.ParseTopology([]byte(text))
	require.NoError(t, err)
	return x
}

func TestATopologyIsExportedAndAppliedAsJSON(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	_, err := log.OpenTopic(bg, db, "audit", nil)
	require.NoError(t, err)
	require.Equal(t, `{}`, export(t, b))
	did, err := b.Apply(bg, parse(t, definitions), &workqueue.ApplyOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, `{}`, export(t, b), "it was a dry run")
	again, err := b.Apply(bg, parse(t, definitions), nil)
	require.NoError(t, err)
	require.Equal(t, did, again)
	require.Equal(t, map[string]pebblemq.Ensured{"lost": {Created: true}, "mail": {Created: true}}, did.Queues)
	require.Len(t, did.Exchanges, 3)
	require.Equal(t, parse(t, definitions).Bindings, did.Bindings)
	require.Equal(t, definitions, export(t, b))
	nothing, err := b.Apply(bg, parse(t, definitions), nil)
	require.NoError(t, err)
	require.Empty(t, nothing.Exchanges)
	require.Empty(t, nothing.Queues)
	require.Empty(t, nothing.Bindings)
	declareAs(t, b, "mine", workqueue.QueueConfig{Exclusive: true})
	bind(t, b, workqueue.Binding{Exchange: "events", Queue: "mine"})
	require.Equal(t, definitions, export(t, b), "an exclusive queue belongs to its handle")

	require.NoError(t, b.Publish(bg, "events", "mail.paid", body("1")))
	require.NoError(t, b.Publish(bg, "events", "mail.sharded", body("2")))
	require.NoError(t, b.Publish(bg, "events", "nothing", body("3")))
	get(t, b, "mail", "1")
	get(t, b, "mail", "2")
	get(t, b, "lost", "3")

	db, b = restart(t, fs, db)
	require.Equal(t, definitions, export(t, b))
	require.NoError(t, db.Close())
}

func TestApplyDoesAllOrNothing(t *testing.T) {
	db, b := open(t)
	exchange(t, b, workqueue.Direct, "x")
	require.NoError(t, b.DeclareExchange(bg, "auto", workqueue.Hash, &workqueue.ExchangeConfig{AutoDelete: true}))
	declare(t, b, "q")
	other := openBroker(t, db)
	declareAs(t, other, "theirs", workqueue.QueueConfig{Exclusive: true})
	before := export(t, b)
	type (
		Exchange = workqueue.ExchangeDefinition
		Queue    = workqueue.QueueDefinition
		Binding  = workqueue.Binding
	)
	hash := []Exchange{{Name: "h", Kind: workqueue.Hash}}
	for _, c := range []struct {
		bad  workqueue.Topology
		want error
	}{
		{workqueue.Topology{Exchanges: []Exchange{{Name: "x", Kind: workqueue.Fanout}}}, pebblemq.ErrConfigMismatch},
		{workqueue.Topology{Exchanges: []Exchange{{Name: "y", Kind: workqueue.Fanout}, {Name: "y", Kind: workqueue.Topic}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Exchanges: []Exchange{{Name: "y", Kind: "what"}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Exchanges: []Exchange{{Kind: workqueue.Fanout}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Exchanges: []Exchange{{Name: "amq.y", Kind: workqueue.Fanout}}}, workqueue.ErrInUse},
		{workqueue.Topology{Queues: []Queue{{Name: "q", QueueConfig: workqueue.QueueConfig{DedupeWindow: time.Hour}}}}, pebblemq.ErrConfigMismatch},
		{workqueue.Topology{Queues: []Queue{{Name: "r"}, {Name: "r", QueueConfig: workqueue.QueueConfig{Expires: 1}}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Queues: []Queue{{Name: "r", QueueConfig: workqueue.QueueConfig{Expires: -1}}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Queues: []Queue{{Name: ""}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Queues: []Queue{{Name: "amq.r"}}}, workqueue.ErrInUse},
		{workqueue.Topology{Queues: []Queue{{Name: "theirs"}}}, workqueue.ErrInUse},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "no", Queue: "q"}}}, workqueue.ErrUnknownExchange},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x", Queue: "no"}}}, workqueue.ErrUnknownQueue},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x", ToExchange: "q"}}}, workqueue.ErrUnknownExchange},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x", Topic: "no"}}}, workqueue.ErrUnknownDestination},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x", Queue: "theirs"}}}, workqueue.ErrInUse},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x"}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Bindings: []Binding{{Queue: "q"}}}, workqueue.ErrInUse},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "x", Queue: "q", Arguments: workqueue.Arguments{"n": 1.0}}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Bindings: []Binding{{Exchange: "auto", Queue: "q", Key: "0"}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Exchanges: hash, Bindings: []Binding{{Exchange: "h", Queue: "q", Key: "0"}}}, pebblemq.ErrInvalid},
		{workqueue.Topology{Queues: make([]Queue, workqueue.MaxTopology+1)}, pebblemq.ErrTooLarge},
	} {
		// The good parts are not applied without the bad ones.
		x := c.bad
		x.Exchanges = append([]Exchange{{Name: "good", Kind: workqueue.Topic}}, x.Exchanges...)
		x.Queues = append([]Queue{{Name: "fine"}}, x.Queues...)
		x.Bindings = append([]Binding{{Exchange: "good", Queue: "fine"}, {Exchange: "auto", Queue: "fine", Key: "1"}}, x.Bindings...)
		for _, dry := range []bool{true, false} {
			require.ErrorIs(t, errOf(b.Apply(bg, &x, &workqueue.ApplyOptions{DryRun: dry})), c.want, "%+v", c.bad)
		}
		require.Equal(t, before, export(t, b))
	}
	require.ErrorIs(t, errOf(b.Apply(bg, nil, nil)), pebblemq.ErrInvalid)
	most := &workqueue.Topology{Queues: make([]Queue, workqueue.MaxTopology)}
	for i := range most.Queues {
		most.Queues[i].Name = "q"
	}
	require.NoError(t, errOf(b.Apply(bg, most, nil)))
}

func TestApplyAltersWhatIsThere(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	_, err := log.OpenTopic(bg, db, "audit", nil)
	require.NoError(t, err)
	require.NoError(t, errOf(b.Apply(bg, parse(t, definitions), nil)))
	publish(t, b, "mail", "kept")
	x := parse(t, strings.NewReplacer(`"deliveryLimit":3`, `"deliveryLimit":5`, `"alternate":"spare"`, `"internal":true`).Replace(definitions))
	did, err := b.Apply(bg, x, nil)
	require.NoError(t, err)
	require.Equal(t, &workqueue.Applied{
		Exchanges: map[string]pebblemq.Ensured{"events": {Altered: []string{"Alternate", "Internal"}}},
		Queues:    map[string]pebblemq.Ensured{"mail": {Altered: []string{"DeliveryLimit"}}},
	}, did)
	db, b = restart(t, fs, db)
	after, err := b.Export(bg)
	require.NoError(t, err)
	require.Equal(t, x, after)
	get(t, b, "mail", "kept")
	require.NoError(t, db.Close())
}

func TestParsingATopologyLeavesNothingOut(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{", `{"Queus":[]}`, `{"Queues":[{"Name":"q","MaxLength":"x"}]}`, `{"Queues":[{"Name":"q","Nonsense":1}]}`,
		`{} {}`, `{}]`, `{"Bindings":[{"Exchange":1}]}`,
	} {
		_, err := workqueue.ParseTopology([]byte(text))
		require.ErrorIs(t, err, pebblemq.ErrInvalid, "%q", text)
	}
	parse(t, " {} \n")
}

func TestALargeTopologyIsApplied(t *testing.T) {
	_, b := open(t)
	x := &workqueue.Topology{Exchanges: []workqueue.ExchangeDefinition{{Name: "x", Kind: workqueue.Topic}}}
	for i := range 100 {
		x.Queues = append(x.Queues, workqueue.QueueDefinition{Name: fmt.Sprint("q", i)})
	}
	for i := range 10_000 {
		x.Bindings = append(x.Bindings, workqueue.Binding{Exchange: "x", Queue: fmt.Sprint("q", i%100), Key: fmt.Sprintf("a.%d.#", i)})
	}
	require.NoError(t, errOf(b.Apply(bg, x, nil)))
	require.NoError(t, b.Publish(bg, "x", "a.4711.b", body("m")))
	get(t, b, "q11", "m")
	require.Equal(t, 10_000, strings.Count(export(t, b), `"key"`))
}

func FuzzParseTopology(f *testing.F) {
	f.Add([]byte(definitions))
	f.Add([]byte(`{"Bindings":[{"Arguments":{"a":null}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := workqueue.ParseTopology(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(x)
		require.NoError(t, err)
		y, err := workqueue.ParseTopology(again)
		require.NoError(t, err)
		third, err := json.Marshal(y)
		require.NoError(t, err)
		require.Equal(t, string(again), string(third))
	})
}
