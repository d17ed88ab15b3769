package log_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/logcheck"
	"github.com/pebblemq/pebblemq/log"
)

// produce makes one call of a producer.
func (a *actor) produce() {
	switch a.rng.IntN(8) {
	case 0, 1:
		a.append(1)
	case 2:
		a.append(1 + a.rng.IntN(12))
	case 3:
		a.appendTo()
	case 4:
		a.appendAsync()
	case 5:
		a.appendRefused()
	case 6:
		a.appendCancelled()
	case 7:
		a.transact()
	}
}

func (a *actor) append(n int) {
	c, sync := a.durability()
	records, names := a.batch(n)
	call := a.life.Append(sync, names...)
	at, err := a.topic.Append(c, records...)
	a.settle(call, err, placed(names, at)...)
}

func (a *actor) appendTo() {
	c, sync := a.durability()
	n := 1 + a.rng.IntN(3)
	if a.rng.IntN(16) == 0 {
		n = 20
	}
	records, names := a.batch(n)
	call := a.life.Append(sync, names...)
	at, err := a.topic.AppendWith(c, into(a.rng.IntN(checkedPartitions)), records...)
	a.settle(call, err, placed(names, at)...)
}

// appendAsync has several appends under way.
func (a *actor) appendAsync() {
	type flight struct {
		call  logcheck.Call
		names []string
		r     *pebblemq.Future[[]log.Position]
	}
	var flying []flight
	for range 1 + a.rng.IntN(8) {
		c, sync := a.durability()
		records, names := a.batch(1 + a.rng.IntN(4))
		call := a.life.Append(sync, names...)
		flying = append(flying, flight{call, names, a.topic.AppendAsync(c, records...)})
	}
	for _, f := range flying {
		at, err := f.r.Wait(ctx)
		a.settle(f.call, err, placed(f.names, at)...)
	}
}

// appendRefused has a record too many for its call.
func (a *actor) appendRefused() {
	records, names := a.batch(2 + a.rng.IntN(3))
	records[len(records)-1].Value = make([]byte, log.MaxRecordBytes+1)
	call := a.life.Append(true, names...)
	at, err := a.topic.Append(ctx, records...)
	a.settle(call, err, placed(names, at)...)
}

// appendCancelled gives up at about the moment of the call.
func (a *actor) appendCancelled() {
	c, sync := a.durability()
	c, cancel := context.WithCancel(c)
	defer cancel()
	records, names := a.batch(1 + a.rng.IntN(3))
	call := a.life.Append(sync, names...)
	a.wg.Go(cancel)
	at, err := a.topic.Append(c, records...)
	a.settle(call, err, placed(names, at)...)
}

// transact appends twice in a transaction, which fails half of the time: before
// it is carried out, or in the midst of that.
func (a *actor) transact() {
	c, sync := a.durability()
	first, names := a.batch(1 + a.rng.IntN(3))
	second, more := a.batch(1 + a.rng.IntN(3))
	names = append(names, more...)
	end := a.rng.IntN(4)
	call := a.life.Append(sync, names...)
	var r1, r2 *log.Placement
	err := a.db.Update(c, func(tx *pebblemq.Tx) (err error) {
		if r1, err = a.topic.In(tx).Append(first...); err != nil {
			return err
		}
		if r2, err = a.topic.In(tx).AppendWith(into(a.rng.IntN(checkedPartitions)), second...); err != nil {
			return err
		}
		switch end {
		case 0:
			return errAbort
		case 1:
			return a.refuser.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 1 << 40})
		}
		return nil
	})
	if err != nil {
		a.settle(call, err)
		return
	}
	at, err := r1.Positions()
	then, also := r2.Positions()
	a.settle(call, errors.Join(err, also), placed(names, append(at, then...))...)
}

// consume is the time of a member from joining to leaving.
func (a *actor) consume() {
	m, err := a.group.Join(ctx, nil)
	if err != nil {
		a.settleRead(err)
		return
	}
	a.made++
	name := fmt.Sprintf("%s.%d", a.name, a.made)
	epochs := make(map[int]uint64)
	for range 5 + a.rng.IntN(20) {
		got, err := m.Poll(ctx, 1+a.rng.IntN(60))
		if err != nil {
			a.settleRead(err)
			return
		}
		for _, r := range got {
			if epoch, from := r.Assignment(); epochs[r.Partition] != epoch {
				epochs[r.Partition] = epoch
				a.life.Assign("g", name, epoch, spotAt(r.Partition, from))
			}
			a.life.Poll("g", name, seen([]log.Record{r})...)
		}
		if len(got) == 0 {
			continue
		}
		got = got[:1+a.rng.IntN(len(got))]
		switch a.rng.IntN(8) {
		case 0:
			a.seek()
		case 1:
			// The records come again, to the next member.
		case 2, 3:
			a.forward(m, got)
		default:
			a.commit(m, got)
		}
		if a.over() {
			return
		}
	}
	a.settleRead(m.Leave(ctx))
}

// settleRead notes the end of the store.
func (a *actor) settleRead(err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, pebblemq.ErrClosed) {
		a.t.Errorf("%s: %v", a.name, err)
	}
	a.err = err
}

// seek moves the group in one partition.
func (a *actor) seek() {
	p := a.rng.IntN(checkedPartitions)
	start, end, err := a.topic.Offsets(ctx, p)
	if err != nil {
		a.settleRead(err)
		return
	}
	to := max(start, end-a.rng.Int64N(200))
	a.life.Seek("g", spotAt(p, to))
	a.settleRead(a.group.Seek(ctx, log.Offset(to), p))
}

// commit commits what was polled.
func (a *actor) commit(m *log.Member, got []log.Record) {
	c, sync := noSync, false
	if a.rng.IntN(3) == 0 {
		c, sync = pebblemq.WithDurability(ctx, pebblemq.Sync), true
	}
	calls := a.commits(sync, got)
	err := m.Commit(c, got...)
	for _, call := range calls {
		a.settle(call, err)
	}
}

// forward commits in one transaction with an append, as one that turns records
// into others does. At times the transaction is refused at its end.
func (a *actor) forward(m *log.Member, got []log.Record) {
	c, sync := a.durability()
	records, names := a.batch(1 + len(got)/20)
	refuse := a.rng.IntN(4) == 0
	calls := a.commits(sync, got)
	call := a.life.Append(sync, names...)
	var r *log.Placement
	err := a.db.Update(c, func(tx *pebblemq.Tx) (err error) {
		if err = m.In(tx).Commit(got...); err != nil {
			return err
		}
		if r, err = a.topic.In(tx).Append(records...); err != nil || !refuse {
			return err
		}
		return a.refuser.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 1 << 40})
	})
	for _, call := range calls {
		a.settle(call, err)
	}
	var at []log.Position
	if err == nil {
		at, err = r.Positions()
	}
	a.settle(call, err, placed(names, at)...)
}

// commits records that records are about to be committed, by assignment.
func (a *actor) commits(sync bool, got []log.Record) []logcheck.Call {
	type tenure struct {
		partition int
		epoch     uint64
	}
	next := make(map[tenure]int64)
	for _, r := range got {
		epoch, _ := r.Assignment()
		next[tenure{r.Partition, epoch}] = r.Offset + 1
	}
	var calls []logcheck.Call
	for t, n := range next {
		calls = append(calls, a.life.Commit(sync, "g", t.epoch, spotAt(t.partition, n)))
	}
	return calls
}

// tail follows a partition for a while, without a group.
func (a *actor) tail() {
	p := a.rng.IntN(checkedPartitions)
	start, end, err := a.topic.Offsets(ctx, p)
	if err != nil {
		a.settleRead(err)
		return
	}
	from := start + a.rng.Int64N(end-start+1)
	r, err := a.topic.NewReader(p, log.Offset(from))
	if err != nil {
		a.settleRead(err)
		return
	}
	a.life.Assign("", a.name, 0, spotAt(p, from))
	left := 20 + a.rng.IntN(500)
	for rec, err := range r.Records(ctx) {
		if err != nil {
			a.settleRead(err)
			return
		}
		a.life.Poll("", a.name, seen([]log.Record{rec})...)
		if left--; left == 0 {
			return
		}
	}
}
