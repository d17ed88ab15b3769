package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

var dying = &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1}

// bury makes dead letters of n messages. Their bodies are its name and a number.
func bury(t testing.TB, q *visibility.Queue, n int) {
	t.Helper()
	for i := range n {
		body := fmt.Sprint(q.Name(), i)
		_, err := q.Send(ctx, visibility.Message{ID: body, Body: []byte(body), Group: group(q)})
		require.NoError(t, err)
		m := one(t, q)
		require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, 0))
		none(t, q)
	}
}

func group(q *visibility.Queue) string {
	if q.Config().FIFO {
		return "g"
	}
	return ""
}

// redrive waits for one to end.
func redrive(t testing.TB, q *visibility.Queue, o *visibility.RedriveOptions) visibility.RedriveInfo {
	t.Helper()
	r, err := q.Redrive(ctx, o)
	require.NoError(t, err)
	info, err := r.Wait(ctx)
	require.NoError(t, err)
	return info
}

// done compares the counts of a redrive.
func done(t testing.TB, i visibility.RedriveInfo, state visibility.RedriveState, moved, skipped, failed uint64) {
	t.Helper()
	require.Equal(t, state, i.State, "%+v", i)
	require.Equal(t, []uint64{moved, skipped, failed}, []uint64{i.Moved, i.Skipped, i.Failed}, "%+v", i)
	require.False(t, i.Waiting)
	require.False(t, i.EndedAt.IsZero())
}

func texts(t testing.TB, q *visibility.Queue) []string {
	t.Helper()
	_, found := browse(t, q, nil)
	return found
}

func TestARedriveMovesEachMessageBackToWhereItDied(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		a, b := open(t, db, "a", dying), open(t, db, "b", dying)
		sent := time.Now()
		bury(t, a, 2)
		bury(t, b, 1)
		<-time.After(time.Minute)
		send(t, dead, "never died")
		info := redrive(t, dead, nil)
		done(t, info, visibility.RedriveCompleted, 3, 0, 1)
		require.Contains(t, info.Reason, "no dead letter")
		require.Zero(t, info.Remaining)
		require.Equal(t, []string{"visible never died"}, texts(t, dead), "what cannot be moved stays")
		require.Equal(t, []string{"visible b0"}, texts(t, b))
		got := receive(t, a, 10)
		require.Equal(t, []string{"a0", "a1"}, bodies(got))
		m := got[0]
		require.Equal(t, "a0", m.ID)
		require.True(t, sent.Equal(m.SentAt), "as it was sent at first")
		require.Equal(t, 1, m.ReceiveCount, "it has all its receives again")
		require.Equal(t, "a", m.DeadLetter.Queue, "its history is kept")
		require.Equal(t, 1, m.DeadLetter.ReceiveCount)
		require.NoError(t, a.ChangeVisibility(ctx, m.Receipt, 0))
		none(t, a)
		require.Equal(t, []string{"visible never died", "visible a0"}, texts(t, dead), "it may die again")
		again, err := dead.Find(ctx, "a0")
		require.NoError(t, err)
		require.Equal(t, 2, again.DeadLetter.Deaths)
	})
}

func TestARedriveToAnotherQueueWithAFilter(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, other := open(t, db, "dead", nil), open(t, db, "other", nil)
		bury(t, open(t, db, "a", dying), 4)
		held := one(t, dead)
		info := redrive(t, dead, &visibility.RedriveOptions{To: "other", Filter: func(m *visibility.Browsed) bool {
			require.Equal(t, visibility.Visible, m.State)
			require.Equal(t, "a", m.DeadLetter.Queue)
			m.Body[0] = 'X' // a copy
			return m.ID != "a2"
		}})
		done(t, info, visibility.RedriveCompleted, 2, 2, 0)
		require.Equal(t, []string{"visible a1", "visible a3"}, texts(t, other))
		require.Equal(t, []string{"in flight a0", "visible a2"}, texts(t, dead))
		require.NoError(t, dead.Delete(ctx, held.Receipt))
	})
}

func TestARedriveKeepsToItsRate(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, a := open(t, db, "dead", nil), open(t, db, "a", dying)
		bury(t, a, 25)
		begin := time.Now()
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 2, Burst: 5})
		require.NoError(t, err)
		for _, step := range []struct {
			after time.Duration
			moved uint64
		}{{0, 5}, {499 * time.Millisecond, 5}, {time.Millisecond, 6}, {time.Second, 8}, {4 * time.Second, 16}} {
			<-time.After(step.after)
			synctest.Wait()
			require.Equal(t, step.moved, r.Info().Moved, "%v", time.Since(begin))
			require.Equal(t, 25-step.moved, r.Info().Remaining)
			counts(t, a, step.moved, 0, 0)
		}
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		done(t, info, visibility.RedriveCompleted, 25, 0, 0)
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
}

func TestOneRedriveOfAQueueAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, a := open(t, db, "dead", nil), open(t, db, "a", dying)
		bury(t, a, 3)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 1})
		require.NoError(t, err)
		synctest.Wait()
		_, err = dead.Redrive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrRedriveRunning)
		redrive(t, a, &visibility.RedriveOptions{To: "dead"}) // of another queue
		require.NoError(t, r.Cancel(ctx))
		require.NoError(t, r.Cancel(ctx), "again")
		done(t, r.Info(), visibility.RedriveCancelled, 1, 0, 0)
		for i := range 12 {
			info := redrive(t, dead, nil)
			require.EqualValues(t, i+2, info.ID)
		}
		list, err := dead.Redrives(ctx)
		require.NoError(t, err)
		require.Len(t, list, 10, "of old ones some are kept")
		require.EqualValues(t, 13, list[0].Info().ID)
		require.EqualValues(t, 4, list[9].Info().ID)
	})
}

// TestWhatComesLaterIsLeftAlone: or a message that dies at once would go round for ever.
func TestWhatComesLaterIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, a := open(t, db, "dead", nil), open(t, db, "a", dying)
		bury(t, a, 3)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 1})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, a.ChangeVisibility(ctx, one(t, a).Receipt, 0))
		none(t, a) // it has died again
		bury(t, a, 1)
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		done(t, info, visibility.RedriveCompleted, 3, 0, 0)
		require.Len(t, texts(t, dead), 2)
	})
}

func TestARedriveIsNotSwallowedByADedupeWindowAndKeepsTheOrderOfGroups(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		c := *dying
		c.FIFO, c.DedupeByBody = true, true
		dead := open(t, db, "dead", &visibility.QueueConfig{FIFO: true, DedupeByBody: true})
		a := open(t, db, "a", &c)
		bury(t, a, 5)
		done(t, redrive(t, dead, nil), visibility.RedriveCompleted, 5, 0, 0)
		require.Equal(t, []string{"a0", "a1", "a2", "a3", "a4"}, bodies(receive(t, a, 10)))
		id, err := a.Send(ctx, visibility.Message{Body: []byte("a0"), Group: "g"})
		require.NoError(t, err)
		require.Equal(t, "a0", id, "a repeat is still one")
	})
}

func TestARedriveGoesOnAfterARestart(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				dead, a := d.queue("dead", nil), d.queue("a", dying)
				bury(t, a, 10)
				_, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 1})
				require.NoError(t, err)
				<-time.After(3500 * time.Millisecond)
				if end == "close" {
					d.reopen()
				} else {
					d.crash(0)
				}
				<-time.After(time.Hour)
				dead = d.queue("dead", nil)
				list, err := dead.Redrives(ctx)
				require.NoError(t, err)
				require.Len(t, list, 1)
				<-time.After(1500 * time.Millisecond)
				require.EqualValues(t, 6, list[0].Info().Moved, "at its rate")
				info, err := list[0].Wait(ctx)
				require.NoError(t, err)
				done(t, info, visibility.RedriveCompleted, 10, 0, 0)
				require.EqualValues(t, 1, info.Rate)
				counts(t, d.queue("a", dying), 10, 0, 0)

				d.reopen()
				list, err = d.queue("dead", nil).Redrives(ctx)
				require.NoError(t, err)
				require.Equal(t, info.State, list[0].Info().State)
				require.True(t, info.EndedAt.Equal(list[0].Info().EndedAt))
			})
		})
	}
}

func TestARedriveWithAFilterIsInterruptedByARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		dead, a := d.queue("dead", nil), d.queue("a", dying)
		bury(t, a, 3)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 1, Filter: func(*visibility.Browsed) bool { return true }})
		require.NoError(t, err)
		synctest.Wait()
		d.reopen()
		_, err = r.Wait(ctx)
		require.ErrorIs(t, err, pebblemq.ErrClosed)
		dead = d.queue("dead", nil)
		list, err := dead.Redrives(ctx)
		require.NoError(t, err)
		info, err := list[0].Wait(ctx)
		require.NoError(t, err)
		done(t, info, visibility.RedriveInterrupted, 1, 0, 0)
		done(t, redrive(t, dead, nil), visibility.RedriveCompleted, 2, 0, 0)
	})
}

func TestARedriveWhoseTargetGoesFails(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, a := open(t, db, "dead", nil), open(t, db, "a", dying)
		open(t, db, "other", nil)
		bury(t, a, 3)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "other", Rate: 1})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, deleteQueue(db, "other"))
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		done(t, info, visibility.RedriveFailed, 1, 0, 0)
		require.Contains(t, info.Reason, "unknown queue")
		require.Equal(t, []string{"visible a1", "visible a2"}, texts(t, dead))

		require.NoError(t, deleteQueue(db, "a"))
		info = redrive(t, dead, nil)
		done(t, info, visibility.RedriveCompleted, 0, 0, 2)
		require.Contains(t, info.Reason, "unknown queue")
		require.Len(t, texts(t, dead), 2)
	})
}

func TestARedriveOfAQueueThatIsDeletedEnds(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead, to := open(t, db, "dead", nil), open(t, db, "to", nil)
		send(t, dead, "a", "b", "c")
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "to", Rate: 1})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, deleteQueue(db, "dead"))
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, visibility.RedriveFailed, info.State)
		_, err = dead.Redrive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		_, err = dead.Redrives(ctx)
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		counts(t, to, 1, 0, 0)
		again := open(t, db, "dead", nil)
		list, err := again.Redrives(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
		it, err := bridge.Store(db).Iter(ctx, []byte{byte(store.KindVisRedrive)}, []byte{byte(store.KindVisRedrive) + 1})
		require.NoError(t, err)
		require.False(t, it.First(), "nothing is left on disk")
		require.NoError(t, it.Close())
	})
}

func TestAFilterThatPanicsFailsTheRedrive(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		send(t, dead, "x")
		info := redrive(t, dead, &visibility.RedriveOptions{Filter: func(*visibility.Browsed) bool { panic("no") }})
		done(t, info, visibility.RedriveFailed, 0, 0, 0)
		require.True(t, strings.HasSuffix(info.Reason, "panicked: no"), info.Reason)
		counts(t, dead, 1, 0, 0)
	})
}

// TestARedriveOfMoreThanIsInMemory has receivers at work on both ends.
func TestARedriveOfMoreThanIsInMemory(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		const n = 6000
		dead, to := open(t, db, "dead", nil), open(t, db, "to", nil)
		batch := make([]visibility.Message, n)
		for i := range batch {
			batch[i].Body = fmt.Append(nil, i)
		}
		_, err := dead.SendBatch(ctx, batch, nil)
		require.NoError(t, err)
		seen := map[string]int{}
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "to", Rate: 10_000})
		require.NoError(t, err)
		for len(seen) < n {
			for _, q := range []*visibility.Queue{dead, to} {
				for _, m := range receive(t, q, 7) {
					seen[string(m.Body)]++
					require.NoError(t, q.Delete(ctx, m.Receipt))
				}
			}
			<-time.After(time.Millisecond)
		}
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		require.EqualValues(t, n, len(seen))
		for body, times := range seen {
			require.Equal(t, 1, times, body)
		}
		require.Positive(t, info.Moved)
		counts(t, dead, 0, 0, 0)
		counts(t, to, 0, 0, 0)
		require.Zero(t, stats(t, dead).Bytes+stats(t, to).Bytes)
	})
}

// TestARedriveWaitsWhileTheDiskIsFull: and it goes on by itself, having lost nothing.
func TestARedriveWaitsWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		quota := storetest.NewQuota(24<<20, false)
		fs.SetHook(quota.Hook)
		fs.Usage = quota.Usage
		db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		dead, to, filler := open(t, db, "dead", nil), open(t, db, "to", nil), open(t, db, "filler", nil)
		send(t, dead, "a", "b", "c")
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "to", Rate: 0.001})
		require.NoError(t, err)
		synctest.Wait() // the first one is moved before the disk is full
		for err == nil {
			_, err = filler.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: noise()})
		}
		require.ErrorIs(t, err, pebblemq.ErrDiskFull)
		quota.Resize(quota.Used() + 12<<20) // below the reserve, also if the engine gives some back
		<-time.After(time.Hour)             // filling may take some minutes of back-off
		info := r.Info()
		require.True(t, info.Waiting, "%+v", info)
		require.Contains(t, info.Reason, "disk")
		require.EqualValues(t, 1, info.Moved)
		counts(t, dead, 2, 0, 0)
		quota.Resize(1 << 30)
		info, err = r.Wait(ctx)
		require.NoError(t, err)
		done(t, info, visibility.RedriveCompleted, 3, 0, 0)
		require.Empty(t, info.Reason, "that is over")
		counts(t, to, 3, 0, 0)
		require.NoError(t, db.Close())
	})
}

func TestRedriveRefusesWhatIsBad(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		open(t, db, "fifo", &visibility.QueueConfig{FIFO: true})
		for name, o := range map[string]visibility.RedriveOptions{
			"negative rate": {Rate: -1}, "high rate": {Rate: visibility.MaxRedriveRate + 1}, "no number": {Rate: math.NaN()},
			"negative burst": {Rate: 1, Burst: -1}, "high burst": {Rate: 1, Burst: visibility.MaxRedriveBurst + 1}, "burst alone": {Burst: 1},
			"itself": {To: "dead"}, "other kind": {To: "fifo"}, "bad name": {To: "a\n"},
		} {
			_, err := dead.Redrive(ctx, &o)
			require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
		}
		_, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "none"})
		require.ErrorIs(t, err, visibility.ErrUnknownQueue)
		list, err := dead.Redrives(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
		redrive(t, dead, &visibility.RedriveOptions{Rate: visibility.MaxRedriveRate, Burst: visibility.MaxRedriveBurst})
		send(t, dead, "x")
		send(t, dead, "y")
		open(t, db, "to", nil)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 0.01, To: "to"})
		require.NoError(t, err)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = r.Wait(short)
		require.True(t, errors.Is(err, context.DeadlineExceeded))
	})
}

func TestARedriveStartsInATransaction(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		to, from := open(t, db, "to", nil), open(t, db, "from", nil)
		send(t, from, "a", "b")
		start := func(id string) (r *visibility.Redrive, err error) {
			return r, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
				if r, err = from.In(tx).Redrive(&visibility.RedriveOptions{To: "to"}); err != nil || id == "" {
					return err
				}
				return from.In(tx).Cancel(id)
			})
		}
		_, err := start("none")
		require.ErrorIs(t, err, visibility.ErrUnknownMessage)
		synctest.Wait()
		counts(t, to, 0, 0, 0)
		list, err := from.Redrives(ctx)
		require.NoError(t, err)
		require.Empty(t, list)
		r, err := start("")
		require.NoError(t, err)
		info, err := r.Wait(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 2, info.Moved)
		counts(t, to, 2, 0, 0)
	})
}
