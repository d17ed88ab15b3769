package log

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// tidying is the background pass over a topic that merges small batches and, if the
// topic is compacted, drops records that a newer one of the same key supersedes.
type tidying struct {
	background
	pass store.Latch // held by the pass under way
	most int         // keys of one round; smaller in tests

	stones *stoneTimer // under the baton; nil if it was never needed
}

// stoneTimer fires when tombstones are to be looked for, see armTidy.
type stoneTimer struct {
	*store.Timer
	at time.Time
}

func newTidying() tidying {
	return tidying{background: background{what: "compact"}, pass: store.NewLatch(), most: maxCompacted}
}

// untidy counts what was written since the last pass. It is under the baton.
type untidy struct {
	small  int32 // batches that are worth merging
	stones bool  // there may be tombstones
	bytes  int
}

// compacted is what a pass has left of a partition. Most partitions have none.
type compacted struct {
	bytes int   // about; 0 after a reopening
	due   int64 // when the first tombstone may go, 0 if there is none
}

func (p *partition) compactedBytes() int {
	if p.compacted == nil {
		return 0
	}
	return p.compacted.bytes
}

func (p *partition) firstDue() int64 {
	if p.compacted == nil {
		return 0
	}
	return p.compacted.due
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
	enough := p.untidy.small >= mergeAt || c.Compact && p.untidy.bytes >= compactAt && p.untidy.bytes >= p.compactedBytes()/2
	if !enough || t.tidying.running {
		return
	}
	t.tidying.start(t, turn, t.tidy, nil)
}

// tombstonePatience is the part of TombstoneRetention by which a tombstone, and what it
// deletes, may outstay its time, so that a pass over the topic is for many of them.
const (
	tombstonePatience    = 48
	minTombstonePatience = time.Second
)

func (c *TopicConfig) tombstonePatience() time.Duration {
	return max(c.TombstoneRetention/tombstonePatience, minTombstonePatience)
}

// armTidy makes a pass begin some time after a moment, in which a tombstone was appended or is
// over, or something is not known yet. The first moment counts. Only a pass can tell when a
// tombstone may go, because its time begins when what it deletes is gone.
func (t *Topic) armTidy(turn *store.Turn, moment time.Time) {
	c := t.config.Load()
	if !c.Compact || t.gone.Load() {
		return
	}
	if t.tidying.stones == nil {
		t.tidying.stones = &stoneTimer{Timer: store.NewTimer(t.startTidy)}
	}
	timer, at := t.tidying.stones, moment.Add(c.tombstonePatience())
	if timer.Armed() && !at.Before(timer.at) {
		return
	}
	timer.at = at
	turn.Arm(timer.Timer, at)
}

// startTidy is what the timer calls.
func (t *Topic) startTidy(turn *store.Turn) {
	switch {
	case t.gone.Load():
	case t.tidying.running:
		t.armTidy(turn, turn.Now())
	default:
		t.tidying.start(t, turn, t.tidyStones, t.armStones)
	}
}

// armStones sets the timer by what a pass has left.
func (t *Topic) armStones(turn *store.Turn) {
	for _, p := range t.partitions() {
		if p.untidy.stones {
			t.armTidy(turn, turn.Now())
		}
		p.armDue(turn)
	}
}

// armDue sets the timer for the first tombstone that has a deadline. If that is over, a pass
// has failed, such as on a full disk, or did not reach it: it is tried again after a pause.
func (p *partition) armDue(turn *store.Turn) {
	if due := p.firstDue(); due != 0 {
		p.topic.armTidy(turn, time.Unix(0, max(due, turn.Now().UnixNano())))
	}
}

// tidyStones is tidy for partitions that have something to do with tombstones. The others are
// left to passes for many batches: merging makes the retention coarser.
func (t *Topic) tidyStones(ctx context.Context) error {
	return t.tidyThose(ctx, func(p *partition) (is bool, err error) {
		if err := p.ready(ctx); err != nil {
			return false, err
		}
		err = t.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(turn *store.Turn) error {
			due := p.firstDue()
			is = p.untidy.stones || due != 0 && due <= turn.Now().UnixNano()
			return nil
		}), store.NoSync)
		return is, err
	})
}

// Compact merges small batches of the topic and, if that is configured, drops
// records that are superseded, and tombstones whose time is over, now. It happens by itself,
// too, when enough has come together, and for tombstones by 1/48 of TombstoneRetention late
// at most, a second at least. Offsets and the order of records stay, and readers go on. If it
// is interrupted, the next one goes on where it was. The newest batch is left alone for that
// time.
func (t *Topic) Compact(ctx context.Context) error {
	if err := t.readable(); err != nil {
		return err
	}
	return t.tidy(ctx)
}

func (t *Topic) tidy(ctx context.Context) error {
	return t.tidyThose(ctx, func(*partition) (bool, error) { return true, nil })
}

func (t *Topic) tidyThose(ctx context.Context, chosen func(*partition) (bool, error)) error {
	if err := t.tidying.pass.Lock(ctx); err != nil {
		return err
	}
	defer t.tidying.pass.Unlock()
	var failed error
	for _, p := range t.partitions() {
		c := t.config.Load()
		is, err := chosen(p)
		if is && err == nil {
			err = p.tidyUp(ctx, c)
		}
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
		from, done, err := p.beginTidy(ctx, c, stop)
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
		if from >= stop { // it was for tombstones that are due: those that it did not reach wait
			return nil
		}
	}
	return ctx.Err()
}

// tidyEnd returns the offset up to which a pass may go: not into the last batch that is
// visible, as long as that is young, nor, in a compacted topic, to records that are too young.
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
	if !c.Compact {
		return stop, nil
	}
	if last.found && !p.topic.s.Now().Before(time.Unix(0, last.retainTime).Add(c.tombstonePatience())) {
		if stop, err = p.wholeEnd(ctx, stop, end); err != nil {
			return start, err
		}
	}
	if c.MinCompactionLag == 0 {
		return stop, nil
	}
	young := p.topic.s.Now().Add(-c.MinCompactionLag).UnixNano()
	first, err := p.searchBatch(ctx, start, stop, func(h header) bool { return h.retainTime > young })
	return max(start, first.safe(stop)), err
}

// wholeEnd returns the end if the last batch is visible as a whole, and stop otherwise.
func (p *partition) wholeEnd(ctx context.Context, stop, end uint64) (uint64, error) {
	err := p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		if p.tail.next == end {
			stop = end
		}
		return p.topic.alive()
	}), store.NoSync)
	return stop, err
}

// beginTidy returns where the pass begins; done if there is nothing to do.
func (p *partition) beginTidy(ctx context.Context, c *TopicConfig, stop uint64) (from uint64, done bool, err error) {
	due := int64(0)
	err = p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		from = max(p.tidy, p.start.Load())
		due = p.firstDue()
		overdue := c.Compact && due != 0 && due <= p.topic.s.Now().UnixNano()
		done = from >= stop && !overdue
		p.untidy = untidy{stones: p.untidy.stones}
		if done {
			p.lookedForStones(stop)
		}
		return p.topic.alive()
	}), store.NoSync)
	return min(from, stop), done, err
}

// lookedForStones notes that a pass has seen all tombstones below an offset. Those that were too
// young for it are to be looked for again. A pass that fails has seen none.
func (p *partition) lookedForStones(to uint64) {
	p.untidy.stones = p.untidy.stones && to < p.next
}

// endTidy notes how far the pass has come. Batches that were only merged are not compacted, so
// the config must still be the one that the pass began with.
func (p *partition) endTidy(ctx context.Context, c *TopicConfig, to uint64) error {
	return p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := p.topic.alive(); err != nil {
			return err
		}
		if p.topic.replaced(c) {
			return errMoved
		}
		p.tidy = max(p.tidy, to)
		p.lookedForStones(to)
		p.writeStart(t)
		p.armDue(t)
		return nil
	}}, store.NoSync)
}

// forgetTidy makes the next pass begin at the start of each partition, because batches that were
// merged before are not compacted. The baton is held, the topic ready.
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
// The newest offset of each key from there is gathered first, by a hash of 128 bits that cannot
// be predicted outside the process. Then everything up to there is rewritten without records
// that have a newer one. Records below from are compacted already: each key has one.
func (p *partition) compact(ctx context.Context, c *TopicConfig, from, stop uint64) (to uint64, err error) {
	newest := newKeyOffsets()
	if to, err = newest.gather(ctx, p, from, stop); errors.Is(err, ErrOffsetOutOfRange) {
		return 0, errMoved
	}
	if err != nil {
		return 0, err
	}
	now := p.topic.s.Now().UnixNano()
	kept, first := 0, int64(0)
	w := rewriter{p: p, config: c}
	w.keep = func(due int64, offset uint64, body []byte) (keep bool, until int64) {
		key, tombstone := keyOf(body)
		if key == nil {
			return true, 0 // from a time when the topic was not compacted
		}
		if latest, known := newest.offsets[newest.hash(key)]; known && latest > offset {
			return false, 0
		}
		if tombstone && due != 0 && due <= now && !w.gaps { // or what it deletes may come back
			if c.IndexKeys {
				w.buried = append(w.buried, entry{indexKey(p.topic.id, key), encodeIndex(p.index, offset)})
			}
			return false, 0
		}
		kept += len(body)
		if tombstone && due == 0 {
			due = max(1, now+min(int64(c.TombstoneRetention), math.MaxInt64-max(now, 0)))
		}
		if due > now && (first == 0 || due < first) {
			first = due
		}
		return true, due
	}
	if err := w.run(ctx, p.start.Load(), to); err != nil {
		return 0, err
	}
	return to, p.topic.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		if due := p.firstDue(); to < p.tidy && due != 0 && (first == 0 || due < first) {
			first = due // it may be of a tombstone that this pass has not come to
		}
		p.compacted = &compacted{bytes: kept, due: first}
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
