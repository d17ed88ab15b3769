package workqueue_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// toDead is a dead letter place: queue dead, by the default exchange.
var toDead = &workqueue.DeadLetter{Key: "dead"}

func publishTTL(t testing.TB, b *workqueue.Broker, body string, ttl time.Duration) {
	t.Helper()
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(body), TTL: ttl}))
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAMessageExpiresOnTimeBehindOthersThatDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		published := time.Now()
		publishTTL(t, b, "stays", 0)
		publishTTL(t, b, "goes", time.Second)
		publishTTL(t, b, "goes later", 2*time.Second)
		pass(time.Second - time.Millisecond)
		require.Equal(t, 3, ready(t, b, "q"))
		pass(time.Millisecond)
		require.Equal(t, 2, ready(t, b, "q"))
		d := get(t, b, "dead", "goes")
		require.Equal(t, []workqueue.Death{{
			Queue: "q", Reason: workqueue.ReasonExpired, Count: 1, Time: time.UnixMicro(published.Add(time.Second).UnixMicro()),
			Latest:      time.UnixMicro(published.Add(time.Second).UnixMicro()),
			RoutingKeys: []string{"q"}, TTL: time.Second,
		}}, d.Deaths)
		require.Zero(t, d.TTL, "a dead letter does not expire again")
		pass(time.Second)
		require.NoError(t, get(t, b, "dead", "goes later").Ack(bg))
		require.Equal(t, []string{"stays"}, drain(t, b))
	})
}

func TestTheLowerOfTheTTLsOfQueueAndMessageCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MessageTTL: 3 * time.Second})
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{})), pebblemq.ErrConfigMismatch)
		publishTTL(t, b, "of the queue", 0)
		publishTTL(t, b, "of the queue too", time.Hour)
		publishTTL(t, b, "its own", time.Second)
		pass(time.Second)
		require.Equal(t, 2, ready(t, b, "q"))
		pass(2*time.Second - 1)
		require.Equal(t, 2, ready(t, b, "q"))
		pass(1)
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestARequeueKeepsTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, AckTimeout: workqueue.NoAckTimeout})
		for _, body := range []string{"kept", "back in time", "back late"} {
			publishTTL(t, b, body, time.Second)
		}
		kept, early, late := get(t, b, "q", "kept"), get(t, b, "q", "back in time"), get(t, b, "q", "back late")
		require.NoError(t, early.Nack(bg, true))
		pass(time.Second)
		require.NoError(t, get(t, b, "dead", "back in time").Ack(bg))
		require.Zero(t, ready(t, b, "q"))
		require.Zero(t, ready(t, b, "dead"), "what is out does not expire")
		pass(time.Hour)
		require.NoError(t, late.Nack(bg, true))
		synctest.Wait()
		require.NoError(t, get(t, b, "dead", "back late").Ack(bg))
		require.NoError(t, kept.Ack(bg))
		pass(time.Hour)
		require.Zero(t, ready(t, b, "dead"))
	})
}

func TestDelayPriorityAndTTLTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, MaxPriority: 5})
		for p := range uint8(3) {
			m := workqueue.Message{Body: []byte{'0' + p}, Priority: p, Delay: time.Minute, TTL: time.Duration(p+1) * time.Second}
			require.NoError(t, b.Publish(bg, "", "q", m))
		}
		pass(time.Minute - 1)
		require.Zero(t, ready(t, b, "q"))
		pass(1)
		require.Equal(t, 3, ready(t, b, "q"))
		get(t, b, "q", "2")
		pass(time.Second)
		get(t, b, "dead", "0")
		get(t, b, "q", "1")
	})
}

// Nothing is delivered late, though the process was not there to see the time
// pass, and however many there are.
func TestABacklogExpiresAfterACrash(t *testing.T) {
	const n = 5000
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		var batch []workqueue.Publishing
		for i := range n {
			m := workqueue.Message{Body: fmt.Append(nil, i), TTL: time.Minute}
			if i%5 == 0 {
				m.TTL = 0
			}
			batch = append(batch, workqueue.Publishing{Key: "q", Message: m})
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
		get(t, b, "q", "0")
		get(t, b, "q", "1") // comes back, and is over
		require.NoError(t, b.Publish(bg, "", "dead", body("a sync")))
		after := fs.CrashClone(vfs.CrashCloneCfg{})
		storetest.Close(t, db)

		time.Sleep(time.Minute)
		db, err = storetest.OpenFS(storetest.NewFS(after), store.Options{})
		require.NoError(t, err)
		b = openBroker(t, db)
		synctest.Wait()
		require.Equal(t, n/5, ready(t, b, "q"))
		require.Equal(t, n*4/5+1, ready(t, b, "dead"))
		storetest.Close(t, db)
		db, err = storetest.OpenFS(storetest.NewFS(after), store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		b = openBroker(t, db)
		synctest.Wait()
		for i, got := range drain(t, b) {
			require.Equal(t, fmt.Sprint(5*i), got)
		}
		require.Zero(t, ready(t, b, "q"))
	})
}

// A message that was passed by, because it was out, expires when the process has ended.
func TestWhatWasOutExpiresAtTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declareWith(t, b, workqueue.QueueConfig{})
		publishTTL(t, b, "out", time.Second)
		publishTTL(t, b, "goes", 2*time.Second)
		get(t, b, "q", "out")
		pass(3 * time.Second)
		publishTTL(t, b, "other", time.Hour)
		publishTTL(t, b, "another", time.Minute)
		pass(time.Minute)
		require.Equal(t, 1, ready(t, b, "q"))
		storetest.Close(t, db)
		db, err = storetest.OpenFS(storetest.NewFS(fs), store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		b = openBroker(t, db)
		synctest.Wait()
		require.Equal(t, []string{"other"}, drain(t, b))
	})
}

func TestAPurgedOrAckedMessageDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		for _, body := range []string{"acked", "out", "purged"} {
			publishTTL(t, b, body, time.Second)
		}
		require.NoError(t, get(t, b, "q", "acked").Ack(bg))
		out := get(t, b, "q", "out")
		n, err := queueOf(t, b, "q").Purge(bg)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		pass(time.Second)
		require.Zero(t, ready(t, b, "dead"))
		require.NoError(t, out.Nack(bg, true))
		synctest.Wait()
		get(t, b, "dead", "out")
	})
}

func TestAnExpiredMessageWithoutADeadLetterPlaceIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{})
		publishTTL(t, b, "goes", time.Second)
		pass(time.Second)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Zero(t, st)
	})
}

func TestAnExpiredMessageWhoseDeadLetterPlaceIsMissingIsNeitherLostNorDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		publishTTL(t, b, "stuck", time.Second)
		publishTTL(t, b, "lives", 0)
		pass(time.Second)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, []int{1, 1}, []int{int(st.Ready), int(st.Unacked)})
		require.Equal(t, []string{"lives"}, drain(t, b))
		declare(t, b, "dead")
		storetest.Close(t, db)
		db, err = storetest.OpenFS(storetest.NewFS(fs), store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		b = openBroker(t, db)
		synctest.Wait()
		require.Zero(t, ready(t, b, "q"))
		get(t, b, "dead", "stuck")
	})
}

func TestABadTTLIsRefused(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{})
	for _, ttl := range []time.Duration{-2, workqueue.MaxTTL + time.Microsecond} {
		require.ErrorIs(t, b.Publish(bg, "", "q", workqueue.Message{TTL: ttl}), pebblemq.ErrInvalid, ttl)
	}
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{TTL: workqueue.MaxTTL}))
	for _, ttl := range []time.Duration{-2, workqueue.MaxTTL + 1} {
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "r", &workqueue.QueueConfig{MessageTTL: ttl})), pebblemq.ErrInvalid, ttl)
	}
}

// A computation like time.Until yields any number of nanoseconds.
func TestATTLIsRoundedDownToMicroseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{})
		for ttl, want := range map[time.Duration]time.Duration{
			1:                    time.Microsecond, // and not zero, which is for ever
			time.Second + 1999:   time.Second + time.Microsecond,
			workqueue.MaxTTL - 1: workqueue.MaxTTL - time.Microsecond,
			workqueue.NowOrNever: workqueue.NowOrNever,
		} {
			require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{TTL: ttl}))
			if ttl == workqueue.NowOrNever {
				synctest.Wait()
				require.Zero(t, ready(t, b, "q"))
				continue
			}
			for m, err := range queueOf(t, b, "q").Browse(bg, nil) {
				require.NoError(t, err)
				require.Equal(t, want, m.TTL)
			}
			if ttl > time.Hour {
				_, err := queueOf(t, b, "q").Purge(bg)
				require.NoError(t, err)
				continue
			}
			<-time.After(want + time.Second)
			synctest.Wait()
			require.Zero(t, ready(t, b, "q"), ttl)
		}
	})
}

// A TTL that a queue is given later counts for what comes then.
func TestAnAlteredTTLIsNotRetroactive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{})
		for range 50 {
			publishTTL(t, b, "old", 0)
		}
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MessageTTL: time.Second}))
		for range 25 {
			publishTTL(t, b, "new", 0)
		}
		require.Equal(t, 75, ready(t, b, "q"))
		pass(time.Second)
		require.Equal(t, 50, ready(t, b, "q"))
		require.NotContains(t, drain(t, b), "new")
	})
}
