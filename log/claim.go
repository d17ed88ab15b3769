package log

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// claim is what a group has to do with one partition. It is under the baton.
//
// Invariant: the set of finished records only shrinks by Seek.
type claim struct {
	store.Sealed
	g       *Group
	p       *partition
	done    progress
	skipped uint64 // records, see skipOp
	epoch   uint64 // of the newest tenure
	owners  uint64 // that there have been
	tenure  *tenure
	heir    *Member // gets the partition when the calls of the tenure are settled
}

// Seal writes what is finished.
func (c *claim) Seal(t *store.Turn) {
	if !c.g.gone() {
		t.Set(partitionKey(store.KindLogCommit, c.g.id, c.p.index), c.done.encode())
	}
}

// wake tells the owner that there may be more to read.
func (c *claim) wake() {
	if c.tenure != nil {
		c.tenure.member.wake.Fire()
	}
}

// tenure is one assignment of a partition to a member, from one rebalance or Seek
// to the next. Records carry the tenure that they were received under. A commit
// counts only if that is still the current one of its claim, which is decided
// under the baton, together with everything else in the commit.
type tenure struct {
	claim  *claim
	member *Member
	epoch  uint64
	owner  uint64                // the number of the member among the owners; Seek keeps it
	from   progress              // what was finished when it began
	unread atomic.Pointer[error] // why the member cannot read on, nil if it can
	hand   *handover             // a Seek keeps it: calls that it has fenced are under way still
	back   givenBack
	heard  atomic.Bool // the callbacks of the member know of it
	lane   string      // the key of its records in a Run with one handler
	acked  sync.Map    // offsets that handlers of a Run have acknowledged themselves

	ctx context.Context // ends when the partition is lost; a hint for those outside the baton
	end context.CancelCauseFunc
}

// fenced refuses what rests on a tenure that is over, or on none.
func (c *claim) fenced(t *tenure) *FencedError {
	e := &FencedError{Topic: c.g.topic.name, Group: c.g.name, Partition: int(c.p.index), Current: c.epoch}
	if t != nil {
		e.Epoch = t.epoch
	}
	return e
}

// lost reports that the tenure is over.
func (t *tenure) lost() bool { return t.ctx.Err() != nil }

// over tells everyone that the tenure is.
func (t *tenure) over() {
	t.end(ErrFenced)
	t.member.wake.Fire()
}

// vacate ends the tenure of a claim.
func (c *claim) vacate() {
	c.heir = nil
	if c.tenure != nil {
		c.tenure.over()
		c.tenure = nil
		c.p.owned = slices.DeleteFunc(c.p.owned, func(o *claim) bool { return o == c })
	}
}

// assign begins a new tenure, of which the member hears by publish.
func (c *claim) assign(m *Member) {
	before := c.tenure
	c.begin(m)
	if before != nil {
		before.over()
	}
}

// begin gives the partition to a member.
func (c *claim) begin(m *Member) {
	before, hand := c.tenure, new(handover)
	if before == nil || before.member != m {
		c.owners++
	} else if before.hand.holds() {
		hand.hold()
	}
	c.heir = nil
	c.succeed(m, hand)
}

// renew replaces the tenure by another one of the same member, because the group was moved. Its
// heir stays that.
func (c *claim) renew() {
	if c.tenure == nil {
		c.epoch++
		return
	}
	c.succeed(c.tenure.member, c.tenure.hand)
}

// succeed begins the next epoch.
func (c *claim) succeed(m *Member, hand *handover) {
	if c.tenure == nil {
		c.p.owned = append(c.p.owned, c)
	}
	c.epoch++
	c.tenure = &tenure{claim: c, member: m, epoch: c.epoch, owner: c.owners, from: c.done, hand: hand}
	c.tenure.lane = fmt.Sprintf("%d/%d", c.g.id, c.p.index)
	c.tenure.ctx, c.tenure.end = context.WithCancelCause(context.Background())
}

// standing is what a Seek changes.
type standing struct {
	done          progress
	epoch, owners uint64
	tenure        *tenure
	heir          *Member
}

func (c *claim) standing() standing { return standing{c.done, c.epoch, c.owners, c.tenure, c.heir} }

func (c *claim) restore(s standing) {
	c.done, c.epoch, c.owners, c.tenure, c.heir = s.done, s.epoch, s.owners, s.tenure, s.heir
}
