package log

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Lag is how far a group is behind in one partition.
type Lag struct {
	Partition int
	Committed int64 // the offset of the next record that the group wants
	End       int64 // of the next record to come
	// Records is how many are not finished. Trimmed records do not count. Compacted records
	// count until the group has passed them, as in Kafka, unless no others are left.
	Records int64

	// Skipped is how many records were trimmed before the group has read them, and passed
	// over because its From says so, since the store was opened.
	Skipped int64

	// Age is how long ago the oldest of these happened by its timestamp, 0 if
	// there is none or it lies in the future.
	Age time.Duration

	// Err is why the group cannot read on in the partition, a DamageError or an OffsetError.
	// Records then counts those that cannot be read, and Age may be 0.
	Err error
}

// Lag returns where the group stands in each partition. The numbers of records are
// exact as of one moment for all of them; the ages are looked up after it. What Run has
// moved to a Retry topic is finished here: it is in the Lag of that topic's group of the
// same name.
func (g *Group) Lag(ctx context.Context) ([]Lag, error) {
	var claims []*claim
	var lags []Lag
	var open []unfinished
	err := g.topic.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		claims = g.claims()
		lags, open = make([]Lag, len(claims)), make([]unfinished, len(claims))
		for i, c := range claims {
			start, end := c.p.start.Load(), c.p.end.Load()
			open[i] = unfinished{max(c.done.next, start), end, slices.Clone(c.done.above)}
			lags[i] = Lag{
				Partition: i,
				Committed: int64(c.done.next),
				End:       int64(end),
				Records:   int64(c.done.left(start, end)),
				Skipped:   int64(c.skipped),
			}
			lags[i].Err = c.unread()
		}
		return g.alive()
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	for i := range lags {
		if lags[i].Records == 0 {
			continue
		}
		var found bool
		lags[i].Age, found, err = claims[i].p.age(ctx, open[i])
		switch {
		case err == nil && !found: // a compaction has dropped all of them
			lags[i].Records = 0
		case store.IsUnread(err):
			lags[i].Err = err
		case err != nil:
			return nil, err
		}
	}
	return lags, nil
}

// unread returns why the owner of a partition cannot read on in it, nil if it can.
func (c *claim) unread() error {
	if c.tenure == nil {
		return nil
	}
	if err := c.tenure.unread.Load(); err != nil {
		return *err
	}
	return nil
}

// unfinished is what a group has not finished of a partition: what is from an offset on and before
// another one, without what was finished out of order.
type unfinished struct {
	from, to uint64
	except   []span // in their order
}

// next returns the first offset at or after another one that is not excepted.
func (u *unfinished) next(at uint64) uint64 {
	for _, s := range u.except {
		if s.lo <= at && at < s.hi {
			at = s.hi
		}
	}
	return at
}

// age returns how old the first record is that is left of what is not finished.
func (p *partition) age(ctx context.Context, u unfinished) (age time.Duration, found bool, err error) {
	for at := u.next(u.from); at < u.to; {
		r := reader{p: p, next: max(at, p.start.Load())}
		body, offset, err := r.peek(ctx, u.to)
		if errors.Is(err, ErrOffsetOutOfRange) {
			continue // it was trimmed meanwhile
		}
		if err != nil || body == nil {
			return 0, false, err
		}
		if at = u.next(offset); at > offset { // what is before it was compacted
			continue
		}
		return max(0, p.topic.s.Now().Sub(time.Unix(0, recordTime(body)))), true, nil
	}
	return 0, false, nil
}
