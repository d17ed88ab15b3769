package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq"
)

// bank is the application's own keys: accounts whose sum is 0 for ever, and a ledger that numbers
// all transfers. Other parts join a transfer to see whether a transaction is whole.
type bank struct {
	w         *world
	made      int // names of transfers
	transfers map[string]*transfer
}

const bankAccounts = 4

// transfer is what is known of a transaction that moves money.
type transfer struct {
	fate
	id               string
	from, to, amount int
	pause            time.Duration // between its reads and its writes
	life             int
	begun, ended     uint64 // the clock
	known            uint64 // the clock when it was certain that it has happened
	pending          bool   // it was acknowledged before it was on disk
	// then says what became of what was part of the transaction, once that is certain.
	then func(happened bool)
}

func newBank(w *world) *bank { return &bank{w: w, transfers: make(map[string]*transfer)} }

func (b *bank) verbs() []*verb {
	return []*verb{
		form("move {amount} from account {from} to account {to} [but fail] [pausing {pause}] [as {parts} parts]", 10, b.drawMove, b.move),
		form("view the accounts [pausing {pause}]", 4, b.drawView, func(c *client, a args) { b.look(c, a.span("pause")) }),
	}
}

func (b *bank) drawMove() args {
	w := b.w
	a := args{
		"amount": fmt.Sprint(w.upTo(100)),
		"from":   fmt.Sprint(w.rng.IntN(bankAccounts)),
		"to":     fmt.Sprint(w.rng.IntN(bankAccounts)),
	}
	if w.chance(8) {
		a["fail"] = "yes"
	}
	if w.likes("long transactions") && w.chance(8) {
		a["parts"] = oneOf(w, "10", "1000")
	}
	b.drawPause(a)
	return a
}

func (b *bank) drawView() args {
	a := args{}
	b.drawPause(a)
	return a
}

// drawPause has a transaction wait between two reads, for others to come in.
func (b *bank) drawPause(a args) {
	if b.w.likes("pauses") && b.w.chance(3) {
		a["pause"] = oneOf(b.w, "1ms", "1s")
	}
}

func (b *bank) opened(c *client) { b.look(c, 0) }
func (b *bank) check(c *client)  { b.look(c, 0) }
func (b *bank) settle(c *client) { b.look(c, 0) }

func (b *bank) move(c *client, a args) {
	b.transfer(c, a, func(tx *pebblemq.Tx) error {
		for n := range a.int("parts") {
			if err := tx.Set(fmt.Appendf(nil, "part/%d", n), make([]byte, 100)); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// transfer moves money in a transaction, beside what more does. Then is called when it is
// certain whether it has happened: at once, or after a crash.
func (b *bank) transfer(c *client, a args, more func(*pebblemq.Tx) error, then func(happened bool)) outcome {
	b.made++
	t := &transfer{
		fate: unknown, id: fmt.Sprintf("t%d", b.made), from: a.int("from") % bankAccounts, to: a.int("to") % bankAccounts,
		amount: a.int("amount"), pause: a.span("pause"), life: c.life, begun: c.event(), then: then,
	}
	b.transfers[t.id] = t
	o := c.call(func(ctx context.Context) error {
		return c.db.Update(ctx, func(tx *pebblemq.Tx) error {
			err := t.write(tx)
			if err == nil {
				err = more(tx)
			}
			if err == nil && a.has("fail") {
				err = errRefused
			}
			return err
		})
	})
	c.tellCall("%s: error %v", t.id, o.err)
	switch {
	case o.refused():
		t.resolve(gone)
	case o.done() && a.has("fail"):
		c.fail("%s was refused by its own function, and Update returned nil", t.id)
	case o.done():
		t.ended = c.event()
		t.known = t.ended
		t.resolve(here)
		if c.syncs(true) {
			b.w.synced(o.began)
		} else {
			t.pending = true
			c.lose(func() { t.mayBeGone = true })
		}
	}
	return o
}

var errRefused = fmt.Errorf("refused by the simulator")

// resolve notes whether a transfer has happened.
func (t *transfer) resolve(f fate) {
	t.fate = f
	if t.then != nil {
		t.then(f == here)
	}
}

// write is the transfer as keys: two balances, the length of the ledger and its newest line.
func (t *transfer) write(tx *pebblemq.Tx) error {
	lines, err := readNumber(tx, "lines")
	if err != nil {
		return err
	}
	time.Sleep(t.pause)
	for account, amount := range map[int]int{t.from: -t.amount, t.to: t.amount} {
		if t.from == t.to {
			amount = 0
		}
		balance, err := readNumber(tx, accountKey(account))
		if err != nil {
			return err
		}
		if err := tx.Set([]byte(accountKey(account)), fmt.Append(nil, balance+amount)); err != nil {
			return err
		}
	}
	if err := tx.Set([]byte("lines"), fmt.Append(nil, lines+1)); err != nil {
		return err
	}
	return tx.Set(fmt.Appendf(nil, "line/%08d", lines+1), []byte(t.id))
}

func accountKey(n int) string { return fmt.Sprintf("account/%d", n) }

func readNumber(tx *pebblemq.Tx, key string) (int, error) {
	value, err := tx.Get([]byte(key))
	if err != nil || value == nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

// statement is what the keys of the bank say at one moment.
type statement struct {
	balances [bankAccounts]int
	count    int
	lines    []string
}

func readStatement(tx *pebblemq.Tx, pause time.Duration) (s statement, err error) {
	for n := range s.balances {
		if s.balances[n], err = readNumber(tx, accountKey(n)); err != nil {
			return s, err
		}
	}
	time.Sleep(pause)
	if s.count, err = readNumber(tx, "lines"); err == nil {
		s.lines, err = readLines(tx)
	}
	return s, err
}

// look compares the accounts and the ledger, at one moment, with all transfers.
func (b *bank) look(c *client, pause time.Duration) {
	var is statement
	o := c.call(func(ctx context.Context) error {
		return c.db.View(ctx, func(tx *pebblemq.Tx) (err error) {
			is, err = readStatement(tx, pause)
			return err
		})
	})
	if c.expects(o, "view the accounts"); !o.done() {
		return
	}
	seen := make(map[string]bool)
	for n, id := range is.lines {
		if t := b.transfers[id]; t == nil || seen[id] || !t.mayBeHere {
			c.fail("line %d of the ledger is %s, which was refused or lost, or is there twice", n+1, id)
			return
		}
		seen[id] = true
	}
	is.addUp(c, b.transfers)
	b.compareLines(c, o, is.lines, seen)
}

// addUp compares the accounts with the transfers of the ledger.
func (s statement) addUp(c *client, transfers map[string]*transfer) {
	if s.count != len(s.lines) {
		c.fail("the ledger has %d lines and says %d", len(s.lines), s.count)
	}
	var sums [bankAccounts]int
	for _, id := range s.lines {
		t := transfers[id]
		sums[t.from] -= t.amount
		sums[t.to] += t.amount
	}
	if sums != s.balances {
		c.fail("the accounts have %v, their transfers come to %v", s.balances, sums)
	}
}

func readLines(tx *pebblemq.Tx) (lines []string, err error) {
	for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("line/")}) {
		if err != nil {
			return nil, err
		}
		if want := fmt.Sprintf("line/%08d", len(lines)+1); string(e.Key) != want {
			return nil, fmt.Errorf("the ledger has %s in the place of %s", e.Key, want)
		}
		lines = append(lines, string(e.Value))
	}
	return lines, nil
}

// compareLines looks for transfers that are missing, and for those that are certain now.
func (b *bank) compareLines(c *client, o outcome, lines []string, seen map[string]bool) {
	var last uint64 // no transfer that ended before may come after
	for _, id := range slices.Backward(lines) {
		t := b.transfers[id]
		if last != 0 && t.begun > last {
			c.fail("%s comes before a transfer that had ended when it began", id)
			return
		}
		if t.ended != 0 && (last == 0 || t.ended < last) {
			last = t.ended
		}
	}
	for id, t := range b.transfers {
		switch {
		case t.begun > o.began, t.known > o.began:
		case t.fate == here && !seen[id] && t.pending && c.disk.wasFull(o.from): // a view may lack it
		case t.fate == here && !seen[id]:
			c.fail("%s was acknowledged and is not in the ledger", id)
		case t.fate == unknown && seen[id]:
			t.known = c.event()
			t.resolve(here)
			c.lose(func() { t.mayBeGone = true }) // it may be on its way to the disk still
		case t.fate == unknown && c.busy == 0 && (t.life < c.life || c.disk.isWell()):
			t.resolve(gone)
		}
	}
	b.forget()
}

// forget drops the transfers that never happened.
func (b *bank) forget() {
	for id, t := range b.transfers {
		if t.fate == gone {
			delete(b.transfers, id)
		}
	}
}
