package log

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Lag is how far a group is behind in one partition.
type Lag struct {
	Partition int
	Committed int64 // the offset of the next record that the group wants
	End       int64 // of the next record to come
	// Records is how many are not finished. What was trimmed does not count; what a
	// compaction has dropped since does, until the group has passed it, as in Kafka.
	Records int64

	// Age is how long ago the oldest of these happened by its timestamp, 0 if
	// there is none or it lies in the future.
	Age time.Duration

	// Err is why the group cannot read on in the partition, a DamageError. Records then
	// counts those that cannot be read, and Age may be 0.
	Err error
}

// Lag returns where the group stands in each partition. The numbers of records are
// exact as of one moment for all of them; the ages are looked up after it. What Run has
// moved to a Retry topic is finished here: it is in the Lag of that topic's group of the
// same name.
func (g *Group) Lag(ctx context.Context) ([]Lag, error) {
	var claims []*claim
	var lags []Lag
	var oldest []uint64
	err := g.topic.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		claims = g.claims()
		lags, oldest = make([]Lag, len(claims)), make([]uint64, len(claims))
		for i, c := range claims {
			start, end := c.p.start.Load(), c.p.end.Load()
			oldest[i] = max(c.done.next, start)
			for _, s := range c.done.above {
				if s.lo <= oldest[i] && oldest[i] < s.hi {
					oldest[i] = s.hi
				}
			}
			lags[i] = Lag{
				Partition: i,
				Committed: int64(c.done.next),
				End:       int64(end),
				Records:   int64(c.done.left(start, end)),
			}
			if c.tenure != nil {
				if err := c.tenure.unread.Load(); err != nil {
					lags[i].Err = *err
				}
			}
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
		lags[i].Age, err = claims[i].p.age(ctx, oldest[i], uint64(lags[i].End))
		switch {
		case store.IsUnread(err):
			lags[i].Err = err
		case err != nil:
			return nil, err
		}
	}
	return lags, nil
}

// age returns how old the record at an offset is, or the first one after it that
// is left.
func (p *partition) age(ctx context.Context, offset, end uint64) (time.Duration, error) {
	for {
		r := reader{p: p, next: max(offset, p.start.Load())}
		body, _, err := r.peek(ctx, end)
		if errors.Is(err, ErrOffsetOutOfRange) {
			continue // it was trimmed meanwhile
		}
		if err != nil || body == nil {
			return 0, err
		}
		return max(0, p.topic.s.Now().Sub(time.Unix(0, recordTime(body)))), nil
	}
}
