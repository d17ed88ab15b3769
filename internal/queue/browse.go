package queue

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Browse goes through the messages of a queue and changes nothing. It reads them in
// chunks, each with iterators of the engine that are closed before anyone sees the
// chunk: who takes his time pins nothing. What each message is, an Op says after the
// read: it waits for the disk, so that nothing is shown that a crash could take back.
//
// Each message is seen at most once, and what is in the queue throughout is seen. The
// end of what waits is set when the Browse begins, or it might not come to one. But
// then a message that becomes due gets away: it moves from what is delayed, which
// comes second, to behind that end. So a watch notes which have become due before they
// were read, and they come last.
type Browse struct {
	s     *store.Store
	query Query
	lanes func() []*Lane // under the baton, highest first
	begun bool
	parts []*part // that are left
	last  *part   // that was read from
	most  int     // messages in a chunk
	total uint64  // that were ready when it began, in the parts that wait
}

// Query says what to browse.
type Query struct {
	// Alive is called under the baton; its error ends the Browse.
	Alive func() error
	// After is the position to begin behind, if set.
	After *Position
	// Waiting and Delayed are the parts that are wanted. What is out is among
	// what waits.
	Waiting, Delayed bool
	// Spans are what is wanted of what waits, if set: the Rest of another Browse.
	Spans []Span
	// ID is that of the messages that are wanted, if set; see Options.ID.
	ID []byte
}

// Limits of a chunk. A single message may be larger.
const (
	browseMessages = 256
	browseBytes    = 1 << 20
)

// Seen is a message as it was found: a copy.
type Seen struct {
	Content
	Position
	Taken               bool   // out with someone
	Untried             bool   // ready, and nobody gets it now; see crash.untried
	Until, First, Since Moment // see Message
	Err                 error  // why it, and perhaps others behind it, cannot be read; there is nothing but the position

	mark    mark // as it was read
	segment *segment
}

// Sequence is Message.Sequence.
func (s *Seen) Sequence() uint64 {
	if s.number != 0 {
		return s.number + 1
	}
	return s.Seq + 1
}

// Span is a part of what waits in a lane, half open.
type Span struct {
	Lane     byte
	From, To uint64
}

// All is the loop over a Browse, with the messages as decode makes them; it leaves out
// those of which that makes nothing. What is wrong with one message does not end it.
func All[M any](ctx context.Context, begin func() (*Browse, error), decode func(*Seen) (*M, error)) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		b, err := begin()
		if err != nil {
			yield(nil, err)
			return
		}
		defer b.Close(ctx)
		for {
			chunk, err := b.Next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(chunk) == 0 {
				return
			}
			for i := range chunk {
				if m, err := decode(&chunk[i]); (m != nil || err != nil) && !yield(m, err) {
					return
				}
			}
		}
	}
}

// part is a piece of the way: the messages of a lane that wait, between two sequence
// numbers, or those that are delayed.
type part struct {
	q        *Lane
	from, to uint64
	watch    *watch // of what is delayed
}

// Next returns some messages, or none at the end.
func (b *Browse) Next(ctx context.Context) ([]Seen, error) {
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	for len(b.parts) > 0 {
		read := b.readWaiting
		if b.last = b.parts[0]; b.last.watch != nil {
			read = b.readDelayed
		}
		found, end, err := read(ctx, b.last)
		if err != nil {
			return nil, err
		}
		if end {
			b.parts = b.parts[1:]
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

// start settles what is to be browsed, once.
func (b *Browse) start(ctx context.Context) error {
	if b.begun {
		return nil
	}
	err := b.fence(ctx, b.begin)
	b.begun = err == nil
	return err
}

// rest returns what is left of what waits after a message of the last chunk.
func (b *Browse) rest(after Position) []Span {
	spans := []Span{{after.Lane, after.Seq + 1, b.last.to}}
	for _, p := range b.parts {
		if p != b.last {
			spans = append(spans, Span{p.q.lane, p.from, p.to})
		}
	}
	return spans
}

// Close ends the Browse, at any time.
func (b *Browse) Close(ctx context.Context) {
	watched := slices.DeleteFunc(b.parts, func(p *part) bool { return p.watch == nil })
	if b.parts = nil; len(watched) == 0 {
		return
	}
	ctx = store.WithDurability(context.WithoutCancel(ctx), store.NoSync)
	_ = b.s.Do(ctx, store.PromptFunc{OpFunc: func(*store.Turn) error { // fails if the store is down
		for _, p := range watched {
			p.q.delays.unwatch(p.watch)
		}
		return nil
	}}, store.NoSync)
}

// fence runs f under the baton, and returns when all that it saw is on disk.
func fence(ctx context.Context, s *store.Store, alive func() error, f func(*store.Turn)) error {
	return s.Do(store.WithDurability(ctx, store.Sync), store.QuietFunc(func(t *store.Turn) error {
		if err := alive(); err != nil {
			return err
		}
		f(t)
		return nil
	}), store.Sync)
}

func (b *Browse) fence(ctx context.Context, f func(*store.Turn)) error {
	return fence(ctx, b.s, b.query.Alive, f)
}

// begin sets the way.
func (b *Browse) begin(*store.Turn) {
	lanes := b.lanes()
	for _, s := range b.query.Spans {
		if i := slices.IndexFunc(lanes, func(q *Lane) bool { return q.lane == s.Lane }); i >= 0 {
			b.parts = append(b.parts, &part{q: lanes[i], from: max(s.From, lanes[i].meta.low), to: min(s.To, lanes[i].meta.next)})
		}
	}
	for _, q := range lanes {
		b.total += q.Stats().Ready
		from, any := b.behind(Position{Lane: q.lane, Seq: q.meta.low})
		if b.query.Waiting && any && from.Seq < q.meta.next {
			b.parts = append(b.parts, &part{q: q, from: from.Seq, to: q.meta.next})
		}
	}
	for _, q := range lanes {
		from, any := b.behind(Position{Lane: q.lane, Due: 1})
		if b.query.Delayed && any && q.meta.delayed > 0 {
			p := &part{q: q, watch: &watch{next: from}}
			q.delays.watches = append(q.delays.watches, p.watch)
			b.parts = append(b.parts, p)
		}
	}
}

// behind returns where to begin in a part, of which the first position is given, if
// anything of it is wanted.
func (b *Browse) behind(first Position) (from Position, any bool) {
	after := b.query.After
	switch {
	case after == nil || first.compare(*after) > 0:
		return first, true
	case first.Lane != after.Lane || first.Delayed() != after.Delayed():
		return first, false
	}
	return after.next(), true
}

func (b *Browse) wants(q *Lane, c *Content) bool {
	return b.query.ID == nil || bytes.Equal(b.query.ID, q.delays.idOf(c))
}

// readWaiting reads a chunk of what waits or is out.
func (b *Browse) readWaiting(ctx context.Context, p *part) (found []Seen, end bool, err error) {
	c, now := chunk{through: p.to}, p.q.newRevision()
	if err := p.q.loader.readEntries(ctx, plan{from: p.from, to: p.to, messages: b.most, bytes: browseBytes, pass: store.IsDamage}, &c); err != nil {
		return nil, false, p.q.unread(err)
	}
	end = c.through == p.to
	wanted := slices.DeleteFunc(c.messages, func(l loadedMessage) bool { return !b.wants(p.q, &l.Content) })
	if len(wanted) > 0 || end || len(c.missing) > 0 {
		err = b.fence(ctx, func(t *store.Turn) {
			for _, l := range wanted {
				if s, here := now.inspect(t, l); here {
					found = append(found, s)
				}
			}
			found = inspectMissing(p.q.lane, found, c.missing)
		})
	}
	if err == nil {
		p.from = c.through
	}
	return found, end, err
}

// readDelayed reads a chunk of what is delayed. When that is all, what has become due
// unread is left.
func (b *Browse) readDelayed(ctx context.Context, p *part) (found []Seen, end bool, err error) {
	read, next, err := p.q.delays.read(ctx, p.watch.next, b.query.ID, b.most)
	if err != nil {
		return nil, false, err
	}
	end = next == Position{}
	err = b.fence(ctx, func(*store.Turn) {
		for _, d := range read {
			if p.watch.still(d.Position) {
				found = append(found, d)
			}
		}
		if p.watch.advance(next, p.q.meta.next); end {
			p.q.delays.unwatch(p.watch)
		}
	})
	if err == nil && end && b.query.Waiting {
		for _, s := range p.watch.late {
			b.parts = append(b.parts, &part{q: p.q, from: s.from, to: s.to})
		}
	}
	return found, end, err
}

// inspect says what has become of a message that was read, and whether it is still
// here.
func (r *revision) inspect(t *store.Turn, l loadedMessage) (s Seen, here bool) {
	q := r.q
	l, err := r.of(t, l)
	s = Seen{Content: l.Content, Position: Position{Lane: q.lane, Seq: l.seq}, mark: l.mark, segment: l.segment}
	s.Until, s.First, s.Since = Moment(l.mark.until), Moment(l.mark.first), Moment(l.mark.since)
	s.Count = l.mark.count
	m := q.order.inMemory(l.seq)
	switch {
	case m != nil:
		s.Taken, s.Untried, s.Count = m.at == out, q.crash.untried(m), m.Count
		s.Until, s.First, s.Since = m.Until, m.First, m.Since
		return s, true
	case err == nil && q.order.gone(&l):
		return s, false
	case l.seq < q.loaded && !q.passedOver(l.seq):
		s.Until = 0
		return s, q.groups.hasSpilled(l.seq, l.Data)
	}
	if s.Err = err; err != nil {
		return s, true
	}
	s.Taken = q.crash.runs(t, &l)
	return s, true
}

// inspectMissing adds what cannot be read, in order, one for each stretch.
func inspectMissing(lane byte, found []Seen, list []missing) []Seen {
	for _, m := range list {
		found = append(found, Seen{Position: Position{Lane: lane, Seq: m.from}, Err: m.err})
	}
	slices.SortFunc(found, func(a, b Seen) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}
