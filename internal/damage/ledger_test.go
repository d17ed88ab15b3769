package damage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ledger records, in a file outside of the store, what the store has
// acknowledged. It tells which states of the store are right.
//
// The store is seen as items: a key, a record, a message, a dedupe key. An item
// belongs to an object, such as a topic, and has one state, a short text; "" is
// absent. The ledger keeps the set of states that each item may have:
//
//	may   before a change: the new state is possible as well
//	did   after it: the new state is the only one, until a crash
//	sync  all that was done so far survives a crash
//	crash there was one: what was done since the last sync is only possible, also if a
//	      later life syncs
//
// A change that returns an error stays a may: its outcome is not known. The
// changes come one after the other, so a later did settles the item again.
type ledger struct {
	out  io.Writer
	all  bytes.Buffer // all lines
	now  map[string]states
	next int // number of the next change
}

// states maps the items of one object to their possible states.
type states map[string][]string

// change is an item's way to a new state.
type change struct{ object, item, state string }

// anywhere is the state of a record whose position is not known.
const anywhere = "?"

// readLedger reads the ledger of a store whose process has ended: changes that were
// not synced may be there or not. Further lines go to out.
func readLedger(text io.Reader, out io.Writer) *ledger {
	l := &ledger{out: out}
	_, _ = l.all.ReadFrom(text)
	l.crashed()
	return l
}

// crashed makes of each change that was not synced a possible one.
func (l *ledger) crashed() {
	_ = l.write("crash\n")
	l.read(bytes.NewReader(l.all.Bytes()))
}

func (l *ledger) read(text io.Reader) {
	l.now, l.next = make(map[string]states), 0
	var tail []string
	for lines := bufio.NewScanner(text); lines.Scan(); {
		switch line := lines.Text(); line {
		case "sync", "crash":
			l.replay(tail, line == "crash")
			tail = tail[:0]
		default:
			tail = append(tail, line)
		}
	}
}

// replay applies lines of the file; after a crash a did is only possible.
func (l *ledger) replay(lines []string, crashed bool) {
	for _, line := range lines {
		f := strings.Split(line, "\t")
		if f[0] == "op" {
			l.next++
			continue
		}
		c := change{f[1], f[2], f[3]}
		if f[0] == "did" && !crashed {
			l.set(c)
		} else {
			l.add(c)
		}
	}
}

func (l *ledger) add(c change) {
	if l.now[c.object] == nil {
		l.now[c.object] = make(states)
	}
	if now := l.possible(c.object, c.item); !slices.Contains(now, c.state) {
		l.now[c.object][c.item] = append(slices.Clone(now), c.state)
	}
}

func (l *ledger) set(c change) {
	if l.now[c.object] == nil {
		l.now[c.object] = make(states)
	}
	l.now[c.object][c.item] = []string{c.state}
}

// possible returns the states that an item may have.
func (l *ledger) possible(object, item string) []string {
	if s := l.now[object][item]; s != nil {
		return s
	}
	return []string{""}
}

// certain returns the only state of an item, if there is only one.
func (l *ledger) certain(object, item string) (state string, ok bool) {
	s := l.possible(object, item)
	return s[0], len(s) == 1
}

// in returns the items of an object that certainly have a state, in order of
// their numbers.
func (l *ledger) in(object, state string) (items []string) {
	for _, item := range l.items(object) {
		if s, ok := l.certain(object, item); ok && s == state {
			items = append(items, item)
		}
	}
	return items
}

// items returns all items of an object, in order of their numbers.
func (l *ledger) items(object string) []string {
	return slices.SortedFunc(maps.Keys(l.now[object]), byNumber)
}

// byNumber orders texts that are numbers, or begin alike and end in one.
func byNumber(a, b string) int {
	if d := len(a) - len(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// begin takes a number for the next change.
func (l *ledger) begin() (n int, err error) {
	n, l.next = l.next, l.next+1
	return n, l.write("op\n")
}

// may notes what a change is about to do.
func (l *ledger) may(changes ...change) error {
	for _, c := range changes {
		l.add(c)
	}
	return l.write(lines("may", changes))
}

// did notes what a change has done, and whether it is on disk with all before.
func (l *ledger) did(synced bool, changes ...change) error {
	for _, c := range changes {
		l.set(c)
	}
	text := lines("did", changes)
	if synced {
		text += "sync\n"
	}
	return l.write(text)
}

func lines(verb string, changes []change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", verb, c.object, c.item, c.state)
	}
	return b.String()
}

func (l *ledger) write(text string) error {
	l.all.WriteString(text)
	_, err := io.WriteString(l.out, text)
	return err
}

// mismatch is an item that was read in a state that is not possible.
type mismatch struct{ item, read, want string }

// compare returns the items that are missing and those that are wrong.
func (l *ledger) compare(object string, read map[string]string) (lost, wrong []mismatch) {
	for _, item := range l.items(object) {
		if _, known := read[item]; !known && !l.allows(object, item, "") {
			lost = append(lost, mismatch{item, "", strings.Join(l.possible(object, item), " or ")})
		}
	}
	for _, item := range slices.SortedFunc(maps.Keys(read), byNumber) {
		if !l.allows(object, item, read[item]) {
			wrong = append(wrong, mismatch{item, read[item], strings.Join(l.possible(object, item), " or ")})
		}
	}
	return lost, wrong
}

// allows reports whether an item may have a state.
func (l *ledger) allows(object, item, state string) bool {
	now := l.possible(object, item)
	return slices.Contains(now, state) || state != "" && slices.Contains(now, anywhere)
}

// moves are states that an item takes by itself some time: mail that was received
// too often becomes a dead letter.
var moves = map[string]string{"mail": "mail-dead"}

// settle makes the state that was read of each uncertain item its only one: a
// store does not change its mind about it later.
func (l *ledger) settle(object string, read map[string]string) error {
	var now, later []change
	for _, item := range l.items(object) {
		if len(l.possible(object, item)) == 1 {
			continue
		}
		now = append(now, change{object, item, read[item]})
		if move := moves[object]; move != "" && read[item] != "" && l.allows(object, item, move) {
			later = append(later, change{object, item, move})
		}
	}
	return errors.Join(l.did(true, now...), l.may(later...))
}

// A change that a crash made uncertain stays so when a later life syncs.
func TestALedgerDoesNotForgetACrash(t *testing.T) {
	var file bytes.Buffer
	first := readLedger(&bytes.Buffer{}, &file)
	require.NoError(t, first.did(true, change{"mail", "1", "mail"}))
	require.NoError(t, first.did(false, change{"mail", "1", ""}))
	second := readLedger(bytes.NewReader(bytes.Clone(file.Bytes())), &file)
	require.ElementsMatch(t, []string{"mail", ""}, second.possible("mail", "1"))
	require.NoError(t, second.did(true, change{"keys", "k", "1"}))
	third := readLedger(bytes.NewReader(bytes.Clone(file.Bytes())), &file)
	require.ElementsMatch(t, []string{"mail", ""}, third.possible("mail", "1"))
	require.Equal(t, []string{"1"}, third.possible("keys", "k"))
}
