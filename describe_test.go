package pebblemq_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// described returns one of a description.
func described(t *testing.T, d pebblemq.Description, kind, parent, name string) pebblemq.Object {
	t.Helper()
	i := slices.IndexFunc(d.Objects, func(o pebblemq.Object) bool { return o.Kind == kind && o.Parent == parent && o.Name == name })
	require.GreaterOrEqual(t, i, 0, "%s %q of %q is missing among %v", kind, name, parent, d.Objects)
	return d.Objects[i]
}

func figures(o pebblemq.Object) map[string]float64 {
	found := make(map[string]float64)
	for _, n := range o.Numbers() {
		found[n.Name] = n.Value
	}
	return found
}

func TestDescribeListsEverythingWithItsCounters(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	w := openWorld(t, db)
	w.stock(t, "x")
	require.NoError(t, w.broker.Publish(bg, "", "in", workqueue.Message{Body: []byte("y")}))

	for range 3 {
		_, err = w.topic.Append(bg, log.Record{Value: []byte("x")})
		require.NoError(t, err)
	}
	_, err = w.topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	require.NoError(t, w.topic.TrimTo(bg, 0, log.Offset(1)))

	d, err := db.Describe(bg)
	require.NoError(t, err)
	require.Positive(t, d.Stats.Operations)
	require.IsIncreasing(t, kindsOf(d))
	require.Equal(t, map[string]float64{"partitions": 1, "appended": 3, "kept": 2}, figures(described(t, d, "topic", "", "orders")))
	billing := described(t, d, "group", "orders", "billing")
	require.Equal(t, "billing", billing.Info.(log.GroupInfo).Name)
	require.Equal(t, 2.0, figures(billing)["lag"])
	in := described(t, d, "work queue", "main", "in")
	require.Equal(t, "in", in.Info.(workqueue.QueueInfo).Name)
	numbers := figures(in)
	require.Equal(t, 1.0, numbers["ready"])
	require.Equal(t, 1.0, numbers["unacked"])
	require.Equal(t, 2.0, numbers["totals_published"])
	require.Equal(t, 0.0, numbers["totals_dead_expired"])
	require.Equal(t, 0.0, numbers["paused"])
	require.NotContains(t, slices.Collect(maps.Keys(numbers)), "id")
	require.Equal(t, 1.0, figures(described(t, d, "exchange", "main", "events"))["bindings"])
	require.Equal(t, 2.0, figures(described(t, d, "broker", "", "main"))["queues"])
	mail := described(t, d, "visibility queue", "", "mail")
	require.True(t, mail.Info.(visibility.QueueInfo).Open)
	require.Equal(t, 1.0, figures(mail)["in_flight"])
	require.Contains(t, slices.Collect(maps.Keys(figures(mail))), "oldest_age_seconds")
	require.Equal(t, 0.0, figures(described(t, d, "namespace", "", "payments"))["completed"])
	require.Equal(t, "payments", described(t, d, "namespace", "", "payments").Info.(idempotency.NamespaceInfo).Name)
}

func TestOldestAgeIsThatOfWhatWaits(t *testing.T) {
	now := time.Now()
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Clock: func() time.Time { return now }})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	w := openWorld(t, db)
	_, err = w.topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	waiting := []pebblemq.Object{
		{Kind: "work queue", Parent: "main", Name: "in"}, {Kind: "visibility queue", Name: "mail"},
		{Kind: "group", Parent: "orders", Name: "billing"},
	}
	ages := func() (list []time.Duration) {
		for _, o := range waiting {
			age, err := db.OldestAge(bg, o)
			require.NoError(t, err)
			list = append(list, age)
		}
		return list
	}
	require.Equal(t, []time.Duration{0, 0, 0}, ages())
	for range 2 { // the second is younger
		require.NoError(t, w.broker.Publish(bg, "", "in", workqueue.Message{}))
		_, err = w.mail.Send(bg, visibility.Message{})
		require.NoError(t, err)
		_, err = w.topic.Append(bg, log.Record{})
		require.NoError(t, err)
		now = now.Add(time.Minute)
	}
	for _, age := range ages() {
		require.InDelta(t, 2*time.Minute, age, float64(time.Millisecond)) // times are stored in microseconds
	}
	age, err := db.OldestAge(bg, pebblemq.Object{Kind: "topic", Name: "orders"})
	require.NoError(t, err)
	require.Zero(t, age)
	_, err = db.OldestAge(bg, pebblemq.Object{Kind: "group", Parent: "orders", Name: "none"})
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
}

func TestSyncBucketsCountEachSyncOnce(t *testing.T) {
	db, err := pebblemq.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	openWorld(t, db)
	st := db.Stats()
	require.IsIncreasing(t, pebblemq.SyncBounds())
	require.Len(t, st.SyncBuckets, len(pebblemq.SyncBounds())+1)
	var sum uint64
	for _, n := range st.SyncBuckets {
		sum += n
	}
	require.Positive(t, sum)
	require.Equal(t, st.Syncs, sum)
	require.Positive(t, st.FreeBytes)
}

// kindsOf returns each kind once, as they come.
func kindsOf(d pebblemq.Description) (kinds []string) {
	for _, o := range d.Objects {
		if len(kinds) == 0 || kinds[len(kinds)-1] != o.Kind {
			kinds = append(kinds, o.Kind)
		}
	}
	return kinds
}

// Objects that were not used since the store was opened are described too.
func TestDescribeAfterARestart(t *testing.T) {
	dir := t.TempDir()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	w := openWorld(t, db)
	_, err = w.topic.Append(bg, log.Record{Value: []byte("x")})
	require.NoError(t, err)
	_, err = w.topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db, err = pebblemq.Open(dir, nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	d, err := db.Describe(bg)
	require.NoError(t, err)
	require.Equal(t, 1.0, figures(described(t, d, "group", "orders", "billing"))["lag"])
	require.Equal(t, map[string]float64{"exchanges": 1, "queues": 2, "open": 0, "bindings": 0, "jobs": 0, "unrouted": 0},
		figures(described(t, d, "broker", "", "main")))
	require.Equal(t, 0.0, figures(described(t, d, "visibility queue", "", "mail"))["open"])
	described(t, d, "namespace", "", "payments")
}

func TestDescribeRefusesAClosedStoreAndANilContext(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	var none context.Context
	_, err = db.Describe(none)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.NoError(t, db.Err())
	require.NoError(t, db.Close())
	_, err = db.Describe(bg)
	require.ErrorIs(t, err, pebblemq.ErrClosed)
	require.ErrorIs(t, db.Err(), pebblemq.ErrClosed)
	require.ErrorIs(t, db.Health().Err, pebblemq.ErrClosed)
}

func TestHealthSaysTheWorst(t *testing.T) {
	h := pebblemq.Health{}
	require.True(t, h.OK())
	require.Equal(t, "ok", h.String())
	h.Damaged = []pebblemq.DamagedFile{{Path: "000007.sst", Err: errors.New("000007.sst: checksum")}}
	require.False(t, h.OK())
	require.Equal(t, "1 damaged files; the first: 000007.sst: checksum", h.String())
	h.Behind = 3 * time.Second
	require.Equal(t, "fsyncs are 3s behind", h.String())
	h.Err = pebblemq.ErrDiskFull
	require.Equal(t, pebblemq.ErrDiskFull.Error(), h.String())
}

func TestAnObjectWithoutInfoHasNoNumbers(t *testing.T) {
	require.Empty(t, pebblemq.Object{}.Numbers())
}

func TestLookingIsNoChange(t *testing.T) {
	ctx := context.Background()
	db := storetest.Open(t, nil)
	_, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	before := db.Stats().Operations
	require.NotZero(t, before)
	_, err = db.Describe(ctx)
	require.NoError(t, err)
	require.Equal(t, before, db.Stats().Operations)
}
