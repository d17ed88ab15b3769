package logcheck

import (
	"slices"
	"sync"
)

// Type says what an Op is.
type Type string

// The types of Op, and which fields they have besides Life.
const (
	AppendOp  Type = "append"  // Call, Sync, Values
	CommitOp  Type = "commit"  // Call, Sync, Group, Epoch, Records: the next offset of each partition
	OKOp      Type = "ok"      // Call; of an append Records
	FailOp    Type = "fail"    // Call; it did not happen
	UnknownOp Type = "unknown" // Call; it may have happened
	SeekOp    Type = "seek"    // Group, Records: the target in each partition
	AssignOp  Type = "assign"  // Group, Member, Epoch, Records: one, the place to begin at
	PollOp    Type = "poll"    // Group, Member, Records
	ReadAllOp Type = "readall" // Records: one without a value names the partition and start
	CrashOp   Type = "crash"   // what was not synced may be lost
	CloseOp   Type = "close"   // nothing may be lost
)

// Record is a value in its place. Where only a place is meant the value is empty.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Value     string `json:",omitempty"`
}

// Op is an entry of a history. It can be sent as JSON.
type Op struct {
	Type    Type
	Life    int
	Call    int      `json:",omitempty"` // ties the outcome to its call, within a life
	Sync    bool     `json:",omitempty"`
	Group   string   `json:",omitempty"`
	Member  string   `json:",omitempty"`
	Epoch   uint64   `json:",omitempty"` // of the assignment
	Values  []string `json:",omitempty"`
	Records []Record `json:",omitempty"`
}

// History records operations. It is safe for concurrent use.
type History struct {
	mu struct {
		sync.Mutex
		ops  []Op
		life int
		over bool // the life has ended
		call int
		tee  func(Op)
	}
}

// New returns an empty history.
func New() *History { return &History{} }

// Tee passes every Op on from now on, in order. f must not use the history.
func (h *History) Tee(f func(Op)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.tee = f
}

// Ops returns what was recorded.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.mu.ops)
}

// Begin begins the next life of the store: it is open.
func (h *History) Begin() *Life {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.life++
	h.mu.over = false
	return &Life{h, h.mu.life}
}

// Crash ends the life with a crash. The crash itself is made by f, which may be
// nil; nothing is recorded meanwhile.
func (h *History) Crash(f func()) { h.end(CrashOp, f) }

// Close ends the life in good order: the store was closed.
func (h *History) Close() { h.end(CloseOp, nil) }

func (h *History) end(t Type, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f != nil {
		f()
	}
	h.add(Op{Type: t, Life: h.mu.life})
	h.mu.over = true
}

func (h *History) add(op Op) {
	if op.Life != h.mu.life || h.mu.over {
		return
	}
	h.mu.ops = append(h.mu.ops, op)
	if h.mu.tee != nil {
		h.mu.tee(op)
	}
}

// Life records what happens between an opening of the store and its end.
type Life struct {
	h *History
	n int
}

// Record adds an Op that was recorded elsewhere, in one life that is this one.
func (l *Life) Record(op Op) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	op.Life = l.n
	l.h.add(op)
}

// Call is an operation whose outcome is still to be recorded.
type Call struct {
	l  *Life
	id int
}

func (l *Life) call(op Op) Call {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.h.mu.call++
	op.Life, op.Call = l.n, l.h.mu.call
	l.h.add(op)
	return Call{l, op.Call}
}

// OK records success; of an append with the records in their places.
func (c Call) OK(at ...Record) { c.l.Record(Op{Type: OKOp, Call: c.id, Records: at}) }

// Fail records that the call had no effect and never will.
func (c Call) Fail() { c.l.Record(Op{Type: FailOp, Call: c.id}) }

// Unknown records that the call may have had its effect or not.
func (c Call) Unknown() { c.l.Record(Op{Type: UnknownOp, Call: c.id}) }

// Append records that values are about to be appended, all or none.
func (l *Life) Append(sync bool, values ...string) Call {
	return l.call(Op{Type: AppendOp, Sync: sync, Values: values})
}

// Commit records that a member is about to commit, under an assignment of one
// partition, the offset of the record that it wants next.
func (l *Life) Commit(sync bool, group string, epoch uint64, next Record) Call {
	return l.call(Op{Type: CommitOp, Sync: sync, Group: group, Epoch: epoch, Records: []Record{next}})
}

// Seek records that a group is about to be moved.
func (l *Life) Seek(group string, to ...Record) {
	l.Record(Op{Type: SeekOp, Group: group, Records: to})
}

// Assign records that a member begins to read a partition at a place. The epoch
// grows with every assignment of that partition in the group. A reader without a
// group, "", begins where it likes.
func (l *Life) Assign(group, member string, epoch uint64, at Record) {
	l.Record(Op{Type: AssignOp, Group: group, Member: member, Epoch: epoch, Records: []Record{at}})
}

// Poll records what a member was given under the assignments that it has.
func (l *Life) Poll(group, member string, got ...Record) {
	l.Record(Op{Type: PollOp, Group: group, Member: member, Records: got})
}

// ReadAll records all that a partition holds, from its start to its end.
func (l *Life) ReadAll(topic string, partition int, got ...Record) {
	l.Record(Op{Type: ReadAllOp, Records: append([]Record{{Topic: topic, Partition: partition}}, got...)})
}
