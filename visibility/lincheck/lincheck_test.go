package lincheck

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

const histories = 60 // of each kind

func TestTheQueueIsLinearizable(t *testing.T) {
	for _, r := range []rules{{}, {fifo: true}, {crashes: true}, {fifo: true, crashes: true}} {
		t.Run(fmt.Sprintf("%+v", r), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(histories) {
				check(t, r, record(t, r, seed))
			}
		})
	}
}

// check passes over the rare history that has too many possible orders to go
// through in a few seconds.
func check(t *testing.T, r rules, history []porcupine.Operation) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(r.model(), history, 5*time.Second)
	if result == porcupine.Unknown {
		t.Log("too hard a history")
	}
	if result != porcupine.Illegal {
		return
	}
	picture := filepath.Join(os.TempDir(), "pebblemq-history.html")
	require.NoError(t, porcupine.VisualizePath(r.model(), info, picture))
	for _, o := range history {
		t.Logf("%d %12d %12d %+v -> %+v", o.ClientId, o.Call, o.Return, o.Input, o.Output)
	}
	require.Equal(t, porcupine.Ok, result, "see %s", picture)
}

// The check finds histories that a broken queue would show. Each of these changes what somebody
// saw in a history that is in order.
func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	for name, spoil := range map[string]func(history []porcupine.Operation) bool{
		"a message that is in flight is received": func(history []porcupine.Operation) bool {
			var before output
			return change(history, func(_ input, o *output) bool {
				if o.receipt == "" {
					return false
				}
				twice := before.id != "" && before.id != o.id
				if twice {
					o.id = before.id
				}
				before = *o
				return twice
			})
		},
		"a stale receipt is good": func(history []porcupine.Operation) bool {
			return change(history, func(_ input, o *output) bool {
				found := o.outcome == stale
				if found {
					o.outcome = fine
				}
				return found
			})
		},
		"a message is lost": func(history []porcupine.Operation) bool {
			return change(history, func(_ input, o *output) bool {
				found := len(o.ids) > 0
				if found {
					o.ids = o.ids[1:]
				}
				return found
			})
		},
		"nothing is received although there is something": func(history []porcupine.Operation) bool {
			return change(history, func(_ input, o *output) bool {
				found := o.receipt != ""
				if found {
					*o = output{}
				}
				return found
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(histories) {
				history := record(t, rules{}, seed)
				check(t, rules{}, history)
				if spoil(history) && !porcupine.CheckOperations(rules{}.model(), history) {
					return
				} // else there was nothing to spoil, or it could have been that way, too
			}
			t.Error("the check found nothing")
		})
	}
}

// change spoils the first outcome that f agrees to.
func change(history []porcupine.Operation, f func(input, *output) bool) bool {
	for i := range history {
		o := history[i].Output.(output)
		if f(history[i].Input.(input), &o) {
			history[i].Output = o
			return true
		}
	}
	return false
}
