package log

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// tidying is the background pass over a topic that merges small batches and, if the
// topic is compacted, drops records that a newer one of the same key supersedes.
type tidying struct {
	background
	pass store.Latch // held by the pass under way
	most int         // keys of one round; smaller in tests
}

func newTidying() tidying {
	return tidying{background: background{what: "compact"}, pass: store.NewLatch(), most: maxCompacted}
}

// untidy counts what was written since the last pass. It is under the baton.
type untidy struct {
	small int // batches that are worth merging
	bytes int
}

const (
	smallBatch   = 4 << 10 // a larger one has a block of its own, and is read as fast as it would be in company
	mergeAt      = 256     // small batches
	usualBatch   = 8       // records, to estimate how many batches there are
	compactAt    = 1 << 20 // bytes, and as much as the half of what is compacted
	maxCompacted = 1 << 20 // keys of one round, which bounds its memory
)

// tidyLater is called for each batch that is written.
func (t *Topic) tidyLater(turn *store.Turn, p *partition, size int) {
	p.untidy.bytes += size
	if size < smallBatch {
		p.untidy.small++
	}
	c := t.config.Load()
	enough := p.untidy.small >= mergeAt || c.Compact && p.untidy.bytes >= compactAt && p.untidy.bytes >= p.tidyBytes/2
	if !enough || t.tidying.running {
		return
	}
	t.tidying.start(t, turn, t.tidy, nil)
}

// Compact merges small batches of the topic and, if that is configured, drops
// records that are superseded, now. It happens by itself, too, when enough has come
// together. Offsets and the order of records stay, and readers go on. If it is
// interrupted, the next one goes on where it was. The newest batch is left alone.
func (t *Topic) Compact(ctx context.Context) error {
	if err := t.readable(); err != nil {
		return err
	}
	return t.tidy(ctx)
}

func (t *Topic) tidy(ctx context.Context) error {
	if err := t.tidying.pass.Lock(ctx); err != nil {
		return err
	}
	defer t.tidying.pass.Unlock()
	var failed error
	for _, p := range t.partitions() {
		c := t.config.Load()
		err := p.tidyUp(ctx, c)
		for errors.Is(err, errMoved) && t.replaced(c) {
			c = t.config.Load()
			err = p.tidyUp(ctx, c)
		}
		switch {
		case store.IsUnread(err): // the others need not wait for it
			failed = errors.Join(failed, err)
		case err != nil && !errors.Is(err, errMoved):
			return errors.Join(failed, err)
		}
	}
	return failed
}

// tidyUp brings a partition in order, up to its last batch, as the config says, which
// has to stay the topic's.
func (p *partition) tidyUp(ctx context.Context, c *TopicConfig) error {
	if err := p.ready(ctx); err != nil {
		return err
	}
	stop, err := p.tidyEnd(ctx, c)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		from, done, err := p.beginTidy(ctx, stop)
		if err != nil || done {
			return err
		}
		to := stop
		if c.Compact {
			to, err = p.compact(ctx, c, from, stop)
		} else {
			w := rewriter{p: p}
			err = w.run(ctx, from, stop)
		}
		if err != nil {
			return err
		}
		if err := p.endTidy(ctx, c, to); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// tidyEnd returns the offset up to which a pass may go: not into the last batch that
// is visible, nor, in a compacted topic, to records that are too young.
func (p *partition) tidyEnd(ctx context.Context, c *TopicConfig) (stop uint64, err error) {
	start, end := p.start.Load(), p.end.Load()
	if start == end {
		return start, nil
	}
	last, err := p.searchBatch(ctx, end-1, end, func(header) bool { return true })
	if err != nil {
		return start, err
	}
	stop = max(last.base, start)
	if !last.found { // it cannot be read
		before, _, err := p.lastReadable(ctx, start, end)
		if err != nil {
			return start, err
		}
		stop = max(before.base, start)
	}
	if !c.Compact || c.MinCompactionLag == 0 {
		return stop, nil
	}
	young := p.topic.s.Now().Add(-c.MinCompactionLag).UnixNano()
	first, err := p.searchBatch(ctx, start, stop, func(h header) bool { return h.retainTime > young })
	return max(start, first.safe(stop)), err
}

// beginTidy returns where the pass begins; done if there is nothing to do.
func (p *partition) beginTidy(ctx context.Context, stop uint64) (from uint64, done bool, err error) {
	err = p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		from = max(p.tidy, p.start.Load())
		p.untidy = untidy{}
		return p.topic.alive()
	}), store.NoSync)
	return from, from >= stop, err
}

// endTidy notes how far the pass has come. What was only merged has not been
// compacted, so that the config must still be the one that the pass began with.
func (p *partition) endTidy(ctx context.Context, c *TopicConfig, to uint64) error {
	return p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := p.topic.alive(); err != nil {
			return err
		}
		if p.topic.replaced(c) {
			return errMoved
		}
		p.tidy = max(p.tidy, to)
		p.writeStart(t)
		return nil
	}}, store.NoSync)
}

// forgetTidy has the next pass begin at the start of each partition, because what
// was merged before has not been compacted. The baton is held, the topic ready.
func (t *Topic) forgetTidy(turn *store.Turn) {
	for _, p := range t.partitions() {
		if p.tidy > 0 {
			p.tidy = 0
			p.writeStart(turn)
		}
	}
}

// compact drops what is superseded by records in [from, to), and returns to: less
// than stop if there are more keys than fit into memory.
//
// The newest offset of each key from there is gathered first, by a hash of 128 bits
// that nobody outside the process can predict; then everything up to there is
// rewritten without records that have a newer one. What is below from has been
// through this before: of each key there is one record.
func (p *partition) compact(ctx context.Context, c *TopicConfig, from, stop uint64) (to uint64, err error) {
	newest := newKeyOffsets()
	if to, err = newest.gather(ctx, p, from, stop); errors.Is(err, ErrOffsetOutOfRange) {
		return 0, errMoved
	}
	if err != nil {
		return 0, err
	}
	now := p.topic.s.Now()
	kept := 0
	w := rewriter{p: p, config: c, horizon: now.Add(c.TombstoneRetention).UnixNano()}
	w.keep = func(h header, offset uint64, body []byte) (keep, tombstone bool) {
		key, tombstone := keyOf(body)
		if key == nil {
			return true, false // from a time when the topic was not compacted
		}
		if latest, known := newest.offsets[newest.hash(key)]; known && latest > offset {
			return false, false
		}
		if tombstone && h.horizon != 0 && h.horizon <= now.UnixNano() && !w.gaps { // or what it deletes may come back
			if c.IndexKeys {
				w.buried = append(w.buried, entry{indexKey(p.topic.id, key), encodeIndex(p.index, offset)})
			}
			return false, false
		}
		kept += len(body)
		return true, tombstone
	}
	if err := w.run(ctx, p.start.Load(), to); err != nil {
		return 0, err
	}
	return to, p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		p.tidyBytes = kept
		return nil
	}), store.NoSync)
}

// keyOffsets is the newest offset of each key.
type keyOffsets struct {
	seeds   [2]maphash.Seed
	offsets map[[2]uint64]uint64
}

func newKeyOffsets() *keyOffsets {
	return &keyOffsets{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, offsets: make(map[[2]uint64]uint64)}
}

func (k *keyOffsets) hash(key []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(k.seeds[0], key), maphash.Bytes(k.seeds[1], key)}
}

// gather notes the keys from an offset on, and returns how far it has come.
func (k *keyOffsets) gather(ctx context.Context, p *partition, from, stop uint64) (uint64, error) {
	r := reader{p: p, next: from}
	for {
		body, offset, err := r.peek(ctx, stop)
		var damage *DamageError
		if errors.As(err, &damage) && store.IsDamage(err) && ctx.Err() == nil {
			r = reader{p: p, next: uint64(damage.To)}
			continue
		}
		if err != nil || body == nil {
			return stop, err
		}
		if key, _ := keyOf(body); key != nil {
			k.offsets[k.hash(key)] = offset
		}
		r.skip()
		if len(k.offsets) >= p.topic.tidying.most && r.cur.left == 0 && r.cur.end > from {
			return r.cur.end, ctx.Err()
		}
	}
}

// keyOf returns the key of an encoded record, nil if it has none, and whether it has
// no value.
func keyOf(body []byte) (key []byte, tombstone bool) {
	flags := body[8]
	if flags&hasKey == 0 {
		return nil, false
	}
	key, _, err := cutBytes(body[recordFixed:])
	if err != nil {
		return nil, false // readers will tell
	}
	return key[:len(key):len(key)], flags&hasValue == 0
}

// DefaultTombstoneRetention is that of a compacted topic.
const DefaultTombstoneRetention = 24 * time.Hour
