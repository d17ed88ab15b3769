package pebblemq_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// The package comment says what becomes of what is pending when the clock is set.
func TestAClockThatIsSetBackPostponesWhatIsPendingAndOneSetForwardHastensIt(t *testing.T) {
	for name, c := range map[string]struct{ set, ends time.Duration }{
		"back":    {-time.Hour, 2 * time.Hour},
		"forward": {30 * time.Minute, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var set time.Duration
				s, err := store.OpenMemory(store.Options{Clock: func() time.Time { return time.Now().Add(set) }})
				require.NoError(t, err)
				db := bridge.DB(s).(*pebblemq.DB)
				defer db.Close()
				b, err := workqueue.OpenBroker(bg, db, "main")
				require.NoError(t, err)
				jobs, err := b.DeclareQueue(bg, "jobs", nil)
				require.NoError(t, err)
				mail, err := visibility.OpenQueue(bg, db, "mail", nil)
				require.NoError(t, err)
				require.NoError(t, b.Publish(bg, "", "jobs", workqueue.Message{Delay: time.Hour}))
				for _, id := range []string{"first", "second"} {
					_, err = mail.Send(bg, visibility.Message{ID: id})
					require.NoError(t, err)
				}
				got, err := mail.Receive(bg, &visibility.ReceiveOptions{VisibilityTimeout: time.Hour})
				require.NoError(t, err)
				set = c.set
				_, err = mail.Send(bg, visibility.Message{ID: "third"})
				require.NoError(t, err)

				count := func() (ready, visible uint64) {
					st, err := jobs.Stats(bg)
					require.NoError(t, err)
					vis, err := mail.Stats(bg)
					require.NoError(t, err)
					return st.Ready, vis.Visible
				}
				<-time.After(c.ends - time.Second)
				ready, visible := count()
				require.Equal(t, []uint64{0, 2}, []uint64{ready, visible})
				<-time.After(time.Second + time.Minute) // the scheduler looks at the clock at least that often
				ready, visible = count()
				require.Equal(t, []uint64{1, 3}, []uint64{ready, visible})
				require.NoError(t, mail.Delete(bg, got[0].Receipt), "nobody has received it since")
				for _, id := range []string{"second", "third"} {
					got, err = mail.Receive(bg, nil)
					require.NoError(t, err)
					require.Equal(t, id, got[0].ID, "the order is that of sending")
				}
			})
		})
	}
}
