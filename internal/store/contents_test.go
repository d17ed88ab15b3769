package store_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// within makes the stored name of an object that lies inside another.
func within(owner uint32, name string) string {
	return string(binary.BigEndian.AppendUint32(nil, owner)) + name
}

func TestContentsNameTheObjectsOfARange(t *testing.T) {
	s := openMem(t)
	ids := make(map[string]uint32)
	create := func(class store.Class, owner, name string) {
		inTurn(t, s, func(turn *store.Turn) error {
			stored := name
			if owner != "" {
				stored = within(ids[owner], name)
			}
			o, err := turn.Create(class, stored, nil)
			if err == nil {
				ids[name] = o.ID
			}
			return err
		})
	}
	create(store.ClassTopic, "", "events")
	create(store.ClassGroup, "events", "billing")
	create(store.ClassBroker, "", "shop")
	create(store.ClassQueue, "shop", "orders")
	create(store.ClassQueue, "shop", "mails")
	create(store.ClassVisQueue, "", "jobs")
	create(store.ClassNamespace, "", "requests")
	key := func(k store.Kind, name string, rest ...byte) []byte {
		return append(store.Key(k, ids[name], 0), rest...)
	}

	for _, c := range []struct {
		lo, hi []byte
		want   string
	}{
		{key(store.KindLogBatch, "events", 1), key(store.KindLogBatch, "events", 2), `records of topic "events"`},
		{key(store.KindLogCommit, "billing", 1), key(store.KindLogCommit, "billing", 2), `committed offsets of group "billing" of topic "events"`},
		{key(store.KindWorkMessage, "orders", 1), key(store.KindWorkMessage, "orders", 2), `messages of queue "orders" of broker "shop"`},
		{key(store.KindWorkMessage, "orders", 1), key(store.KindWorkMessage, "mails", 2),
			`messages of queue "mails" of broker "shop"; messages of queue "orders" of broker "shop"`},
		{key(store.KindWorkMessage, "orders", 9), key(store.KindWorkState, "orders", 2),
			`messages of queue "mails" of broker "shop"; messages, message states of queue "orders" of broker "shop"`},
		{key(store.KindVisState, "jobs", 1), key(store.KindVisState, "jobs", 2), `message states of visibility queue "jobs"`},
		{key(store.KindIdemRecord, "requests"), nil, `claims and results, expiry index, counters of namespace "requests"`},
		{[]byte{byte(store.KindApp), 'a'}, []byte{byte(store.KindApp), 'b'}, "application keys"},
		{[]byte{byte(store.KindMeta), 'a'}, []byte{byte(store.KindCatalog)}, "kernel records"},
		{[]byte{byte(store.KindCatalog), byte(store.ClassNamespace)}, []byte{byte(store.KindApp)}, `catalog entries; catalog entry of namespace "requests"`},
		{append(store.Key(store.KindIdemRecord, 4711, 1), 'a'), append(store.Key(store.KindIdemRecord, 4711, 1), 'b'),
			"claims and results of object 4711, which is not in the catalog"},
		{key(store.KindLogBatch, "billing", 1), key(store.KindLogBatch, "billing", 2), ""},
	} {
		require.Equal(t, c.want, s.Contents(c.lo, c.hi).String(), "%x to %x", c.lo, c.hi)
	}
}

func TestContentsOfSharedPayloadsAreTheirHolders(t *testing.T) {
	s := openMem(t)
	inTurn(t, s, func(turn *store.Turn) error {
		o, err := turn.Create(store.ClassVisQueue, "jobs", nil)
		if err == nil {
			turn.Hold(store.Holder{ID: o.ID}, turn.PutPayload([]byte("body")), 1)
		}
		return err
	})
	lo := []byte{byte(store.KindPayload)}
	require.Equal(t, `shared payloads; bodies of messages of visibility queue "jobs"`, s.Contents(lo, store.PrefixEnd(lo)).String())
}

func TestContentsAreBounded(t *testing.T) {
	s := openMem(t)
	for i := range 100 {
		inTurn(t, s, func(turn *store.Turn) error {
			_, err := turn.Create(store.ClassTopic, fmt.Sprintf("topic %02d", i), nil)
			return err
		})
	}
	c := s.Contents([]byte{byte(store.KindLogBatch)}, nil)
	require.Len(t, c.Parts, 16)
	require.Equal(t, 84, c.More)
	require.Contains(t, c.String(), `of topic "topic 00"; `)
	require.Contains(t, c.String(), "; and 84 more")
}
