package pebblemq_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// everyLayer fills a store with objects of all layers, in all states that messages can
// be in. Parts of it are in tables of several levels, the last part is in the WAL.
type everyLayer struct {
	t  *testing.T
	db *pebblemq.DB
	n  int
}

func (w *everyLayer) text() []byte {
	w.n++
	return []byte(strings.Repeat(fmt.Sprintf("%d of this and that; ", w.n), 3+w.n%7))
}

func (w *everyLayer) fill(round int) {
	w.topics(round)
	w.brokers(round)
	w.queues(round)
	w.namespaces(round)
	require.NoError(w.t, w.db.Update(bg, func(tx *pebblemq.Tx) error {
		for i := range 30 {
			if err := tx.Set(fmt.Appendf(nil, "app/%d", i*3+round), w.text()); err != nil {
				return err
			}
		}
		return tx.Delete(fmt.Appendf(nil, "app/%d", round))
	}))
}

func (w *everyLayer) topics(round int) {
	t := w.t
	topic, err := log.OpenTopic(bg, w.db, "events", &log.TopicConfig{Partitions: 3, IndexKeys: true, DedupeWindow: time.Hour})
	require.NoError(t, err)
	compacted, err := log.OpenTopic(bg, w.db, "states", &log.TopicConfig{Compact: true, Compression: log.Snappy})
	require.NoError(t, err)
	group, err := topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	for i := range 40 {
		r := log.Record{Key: fmt.Appendf(nil, "key %d", i%11), Value: w.text()}
		_, err := topic.Append(bg, r)
		require.NoError(t, err)
		_, err = compacted.Append(bg, r)
		require.NoError(t, err)
	}
	_, err = topic.AppendWith(bg, log.AppendOptions{ID: fmt.Sprint("id ", round)}, log.Record{Value: w.text()})
	require.NoError(t, err)
	p, err := topic.OpenProducer(bg, "p")
	require.NoError(t, err)
	_, err = topic.AppendWith(bg, log.AppendOptions{Partition: log.InPartition(1), Producer: p, Number: int64(round)}, log.Record{Value: w.text()})
	require.NoError(t, err)
	m, err := group.Join(bg, nil)
	require.NoError(t, err)
	records, err := m.Poll(bg, 30)
	require.NoError(t, err)
	require.NoError(t, m.Commit(bg, records[:10]...))
	require.NoError(t, m.Ack(bg, records[12:20]...))
	require.NoError(t, m.Leave(bg))
	require.NoError(t, compacted.Compact(bg))
	if round == 2 {
		require.NoError(t, topic.TrimTo(bg, 0, log.Offset(15)))
	}
}

func (w *everyLayer) brokers(round int) {
	t := w.t
	b, err := workqueue.OpenBroker(bg, w.db, "shop")
	require.NoError(t, err)
	declareQueue(t, b, "orders", &workqueue.QueueConfig{MaxPriority: 3})
	declareQueue(t, b, "mails", &workqueue.QueueConfig{DedupeWindow: time.Hour})
	require.NoError(t, errors.Join(
		b.DeclareExchange(bg, "all", workqueue.Fanout, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}),
		b.Bind(bg, workqueue.Binding{Exchange: "all", Queue: "orders"}),
		b.Bind(bg, workqueue.Binding{Exchange: "all", Queue: "mails"}),
		b.Bind(bg, workqueue.Binding{Exchange: "all", VisibilityQueue: "jobs"}),
	))
	for i := range 40 {
		m := workqueue.Message{Body: w.text(), Priority: uint8(i % 4), MessageID: fmt.Sprint("m ", round, i)}
		switch i % 5 {
		case 0:
			m.TTL = time.Hour
		case 1:
			m.Delay = time.Hour
		case 2:
			m.UniqueKey = fmt.Sprint("u ", round, i)
		}
		require.NoError(t, b.Publish(bg, "", "orders", m))
		if i%4 == 0 {
			require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: []byte(strings.Repeat(string(w.text()), 20)), MessageID: fmt.Sprint("f ", round, i)}))
		}
	}
	for i := range 12 {
		d, ok, err := queueOf(w.t, b, "orders").Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		switch i % 3 {
		case 0:
			require.NoError(t, d.Ack(bg))
		case 1:
			require.NoError(t, d.Nack(bg, true))
		}
	}
}

func (w *everyLayer) queues(round int) {
	t := w.t
	jobs, err := visibility.LookupQueue(bg, w.db, "jobs")
	require.NoError(t, err)
	fifo, err := visibility.OpenQueue(bg, w.db, "steps", &visibility.QueueConfig{FIFO: true, MaxPriority: 2, DedupeWindow: time.Hour})
	require.NoError(t, err)
	for i := range 40 {
		m := visibility.Message{Body: w.text(), ID: fmt.Sprint("j ", round, i)}
		if i%4 == 0 {
			m.Delay = time.Hour
		}
		_, err := jobs.Send(bg, m)
		require.NoError(t, err)
		_, err = fifo.Send(bg, visibility.Message{
			Body: w.text(), Group: fmt.Sprint("g", i%5), Priority: uint8(i % 3), DedupeID: fmt.Sprint("d ", round, i),
		})
		require.NoError(t, err)
	}
	for _, q := range []*visibility.Queue{jobs, fifo} {
		got, err := q.Receive(bg, &visibility.ReceiveOptions{Max: 8})
		require.NoError(t, err)
		for _, r := range got[:len(got)/2] {
			require.NoError(t, q.Delete(bg, r.Receipt))
		}
	}
}

func (w *everyLayer) namespaces(round int) {
	keys, err := idempotency.OpenNamespace(bg, w.db, "requests", nil)
	require.NoError(w.t, err)
	for i := range 40 {
		_, err := keys.Do(bg, fmt.Appendf(nil, "k %d %d", round, i), func(context.Context, idempotency.Claim) ([]byte, error) { return w.text(), nil }, nil)
		require.NoError(w.t, err)
	}
}

// fullStore returns a file system with a store of all layers, as a crash leaves it.
func fullStore(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	w := &everyLayer{t: t}
	for round := range 4 {
		db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		if w.db = db; round == 0 {
			_, err := visibility.OpenQueue(bg, db, "jobs", nil)
			require.NoError(t, err)
		}
		w.fill(round)
		if round == 3 {
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
		}
		require.NoError(t, db.Close())
	}
	return fs
}

func clone(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
}

// contents returns all keys of a store but the kernel's marks.
func contents(t *testing.T, db *pebblemq.DB) map[string]string {
	t.Helper()
	it, err := bridge.Store(db).Iter(bg, []byte{byte(store.KindCatalog)}, nil)
	require.NoError(t, err)
	all := make(map[string]string)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(t, err)
		all[string(it.Key())] = string(v)
	}
	require.NoError(t, it.Close())
	return all
}

func salvage(t *testing.T, fs *vfs.MemFS) (*store.SalvageReport, *pebblemq.DB) {
	t.Helper()
	r, err := store.Salvage(bg, "data", "saved", store.SalvageOptions{FS: fs})
	require.NoError(t, err)
	s, err := store.Open(store.Options{FS: fs, Dir: "saved", MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	return r, bridge.DB(s).(*pebblemq.DB)
}

func TestSalvageOfAWholeStoreOfAllLayersIsACopy(t *testing.T) {
	fs := fullStore(t)
	db, err := storetest.OpenFS(clone(fs), store.Options{})
	require.NoError(t, err)
	want := contents(t, db)
	require.NoError(t, db.Close())
	r, db := salvage(t, fs)
	require.NoError(t, r.Err())
	require.Equal(t, want, contents(t, db))
	require.True(t, db.Stats().Unclean, "what was out is suspect still")
	storetest.Close(t, db)
}

// The tombstone of a key can be in another partition than older records of it, and be gone before them.
func TestSalvageOfAWholeStoreBringsNoDeletedKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		db, err := storetest.OpenFS(storetest.NewFS(mem), store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(bg, db, "state", &log.TopicConfig{Partitions: 2, Compact: true, IndexKeys: true, TombstoneRetention: time.Second})
		require.NoError(t, err)
		for partition, value := range [][]byte{[]byte("v"), nil} {
			_, err = topic.AppendWith(bg, log.AppendOptions{Partition: log.InPartition(partition)}, log.Record{Key: []byte("k"), Value: value})
			require.NoError(t, err)
		}
		require.NoError(t, topic.Compact(bg))
		<-time.After(2 * time.Second)
		require.NoError(t, topic.Compact(bg))
		require.NoError(t, db.Close())
		r, db := salvage(t, mem)
		defer storetest.Close(t, db)
		require.NoError(t, r.Err(), r.Repaired)
		topic, err = log.LookupTopic(bg, db, "state")
		require.NoError(t, err)
		_, found, err := topic.Latest(bg, []byte("k"))
		require.NoError(t, err)
		require.False(t, found)
	})
}

// harm damages a file at a random place in one of several ways.
func harm(t *testing.T, fs *vfs.MemFS, name string, rng *rand.Rand) string {
	t.Helper()
	path := "data/" + name
	f, err := fs.Open(path)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	at := rng.IntN(len(b))
	how := [...]string{"a flipped bit", "zeroes", "garbage", "a cut"}[rng.IntN(4)]
	switch how {
	case "a flipped bit":
		b[at] ^= 1 << rng.IntN(8)
	case "zeroes":
		clear(b[at:min(len(b), at+512)])
	case "garbage":
		for i := at; i < min(len(b), at+64); i++ {
			b[i] = byte(rng.Uint32())
		}
	case "a cut":
		b = b[:at]
	}
	f, err = fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(b)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
	return fmt.Sprintf("%s at %d of %s", how, at, name)
}

func TestStoresDamagedIn200PlacesAreVerifiedAndSalvaged(t *testing.T) {
	synctest.Test(t, testDamagedPlaces)
}

func testDamagedPlaces(t *testing.T) {
	origin := fullStore(t)
	db, err := storetest.OpenFS(clone(origin), store.Options{})
	require.NoError(t, err)
	want := contents(t, db)
	require.NoError(t, db.Close())
	names, err := origin.List("data")
	require.NoError(t, err)
	names = slices.DeleteFunc(names, func(n string) bool {
		return !strings.HasSuffix(n, ".sst") && !strings.HasSuffix(n, ".log") && !strings.HasPrefix(n, "MANIFEST")
	})
	slices.Sort(names)
	places := uint64(200)
	if testing.Short() {
		places = 10
	}
	for seed := range places {
		rng := rand.New(rand.NewPCG(seed, 0))
		fs, name := clone(origin), names[rng.IntN(len(names))]
		what := fmt.Sprintf("seed %d: %s", seed, harm(t, fs, name, rng))
		if strings.HasSuffix(name, ".sst") {
			verifyDamaged(t, what, clone(fs), name)
		}
		r, db := salvage(t, fs)
		checkSalvaged(t, what, r, db, want)
		useEverything(t, what, db)
		storetest.Close(t, db)
	}
}

// verifyDamaged checks that Verify names the damaged table, if the store opens.
func verifyDamaged(t *testing.T, what string, fs *vfs.MemFS, name string) {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "data", MemoryBytes: store.MinMemoryBytes, NoCompactions: true})
	if err != nil {
		return // and Open has told
	}
	db := bridge.DB(s).(*pebblemq.DB)
	r, err := db.Verify(bg, &pebblemq.VerifyOptions{BytesPerSecond: pebblemq.Unlimited})
	require.NoError(t, err, what)
	for _, d := range r.Damages {
		require.Equal(t, name, d.File, what)
		require.NotEmpty(t, d.Holds, what)
	}
	if _, err := fs.Stat("data/" + name); err == nil { // else no table was made of it
		require.ErrorIs(t, r.Err(), pebblemq.ErrCorrupt, what)
	}
	require.NoError(t, db.Close(), what)
}

// checkSalvaged compares a store with what it was. It may differ where a file was damaged,
// where a repair is on record, and by objects that are lost.
func checkSalvaged(t *testing.T, what string, r *store.SalvageReport, db *pebblemq.DB, want map[string]string) {
	t.Helper()
	require.Empty(t, r.Unrepaired, what)
	v, err := db.Verify(bg, &pebblemq.VerifyOptions{BytesPerSecond: pebblemq.Unlimited})
	require.NoError(t, err, what)
	require.NoError(t, v.Err(), what)
	require.Empty(t, v.Unchecked, what)
	got := contents(t, db)
	for key := range want {
		if _, is := got[key]; !is {
			got[key] = ""
		}
	}
	explained := make(map[string]bool)
	for _, c := range r.Repaired {
		explained[string(c.Key)] = true
	}
	for key, value := range got {
		if value == want[key] || explained[key] {
			continue
		}
		known := slices.ContainsFunc(r.Damages, func(d store.Damage) bool {
			inRange := d.Lo != nil && key >= string(d.Lo) && (d.Hi == nil || key < string(d.Hi))
			return inRange || strings.HasSuffix(d.File, ".log")
		}) || slices.ContainsFunc(r.Lost, func(l store.LostObject) bool {
			return len(key) > 5 && binary.BigEndian.Uint32([]byte(key[1:])) == l.ID
		})
		require.True(t, known, "%s: key %x is %q, was %q", what, key, value, want[key])
	}
}

// useEverything reads and takes all that is left.
func useEverything(t *testing.T, what string, db *pebblemq.DB) {
	t.Helper()
	topics, err := log.Topics(bg, db)
	require.NoError(t, err, what)
	for _, info := range topics {
		topic, err := log.LookupTopic(bg, db, info.Name)
		require.NoError(t, err, what)
		for p := range topic.Partitions() {
			r, err := topic.NewReader(p, log.Start())
			require.NoError(t, err, what)
			_, end, err := topic.Offsets(bg, p)
			require.NoError(t, err, what)
			_, err = topic.AppendWith(bg, log.AppendOptions{Partition: log.InPartition(p)}, log.Record{Key: []byte("new"), Value: []byte("new")})
			require.NoError(t, err, what)
			for last := int64(-1); last < end; {
				records, err := r.Fetch(bg, 100, 1<<20)
				require.NoError(t, err, what)
				last = records[len(records)-1].Offset
			}
		}
	}
	b, err := workqueue.OpenBroker(bg, db, "shop")
	require.NoError(t, err, what)
	for _, name := range []string{"orders", "mails"} {
		q, err := b.Queue(bg, name)
		if errors.Is(err, workqueue.ErrUnknownQueue) {
			continue
		}
		require.NoError(t, err, what)
		require.NoError(t, b.Publish(bg, "", name, workqueue.Message{Body: []byte("new")}), what)
		n := 0
		for {
			d, ok, err := q.Get(bg)
			require.NoError(t, err, what)
			if !ok {
				break
			}
			n++
			require.NoError(t, d.Ack(bg), what)
		}
		require.Positive(t, n, what)
		st, err := q.Stats(bg)
		require.NoError(t, err, what)
		require.Zero(t, st.Ready+st.Unacked, what)
	}
	queues, err := visibility.Queues(bg, db)
	require.NoError(t, err, what)
	for _, info := range queues {
		q, err := visibility.LookupQueue(bg, db, info.Name)
		require.NoError(t, err, what)
		for {
			got, err := q.Receive(bg, &visibility.ReceiveOptions{Max: 10})
			require.NoError(t, err, what)
			if len(got) == 0 {
				break
			}
			for _, r := range got {
				require.NoError(t, q.Delete(bg, r.Receipt), what)
			}
		}
	}
	keys, err := idempotency.OpenNamespace(bg, db, "requests", nil)
	require.NoError(t, err, what)
	n := uint64(0)
	for e, err := range keys.Entries(bg, nil) {
		require.NoError(t, err, what)
		if e.State == idempotency.Completed {
			n++
		}
	}
	info, err := keys.Info(bg)
	require.NoError(t, err, what)
	require.Equal(t, info.Completed, n, what)
}
