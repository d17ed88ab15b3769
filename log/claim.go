package log

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// claim is what a group has to do with one partition. It is under the baton.
//
// Invariant: what is finished only becomes less by Seek.
type claim struct {
	store.Sealed
	g      *Group
	p      *partition
	done   progress
	epoch  uint64 // of the newest tenure
	owners uint64 // that there have been
	tenure *tenure
	heir   *Member // gets the partition when the calls of the tenure are settled
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
	hand   handover
	lane   string // the key of its records in a Run with one handler

	ctx context.Context // ends when the partition is lost; a hint for those outside the baton
	end context.CancelCauseFunc
}

// lost reports that the tenure is over.
func (t *tenure) lost() bool { return t.ctx.Err() != nil }

// vacate ends the tenure of a claim.
func (c *claim) vacate() {
	c.heir = nil
	if c.tenure != nil {
		c.tenure.end(ErrFenced)
		c.tenure.member.wake.Fire()
		c.tenure = nil
	}
}

// assign begins a new tenure, of which the member hears by publish.
func (c *claim) assign(m *Member) {
	if c.tenure == nil || c.tenure.member != m {
		c.owners++
	}
	c.vacate()
	c.epoch++
	c.tenure = &tenure{claim: c, member: m, epoch: c.epoch, owner: c.owners, from: c.done}
	c.tenure.lane = fmt.Sprintf("%d/%d", c.g.id, c.p.index)
	c.tenure.ctx, c.tenure.end = context.WithCancelCause(context.Background())
}
