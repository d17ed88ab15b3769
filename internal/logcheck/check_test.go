package logcheck

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// at makes a record of topic t.
func at(partition int, offset int64, value string) Record {
	return Record{"t", partition, offset, value}
}

// script is a history in the making, with named moments at which a row of the
// table may do something that no log should.
type script struct {
	h    *History
	l    *Life
	seed func(moment string, s *script)
	edit func(*Op)
}

func (s *script) moment(name string) {
	if s.seed != nil {
		s.seed(name, s)
	}
}

func (s *script) append(sync bool, records ...Record) {
	var values []string
	for _, r := range records {
		values = append(values, r.Value)
	}
	s.l.Append(sync, values...).OK(records...)
}

// extra is a reader that no other one in the history is.
func (s *script) extra(got ...Record) { s.l.Poll("", "extra", got...) }

// ops is a correct history, unless seed or edit spoil it.
func (s *script) ops() []Op {
	s.h = New()
	s.l = s.h.Begin()
	s.append(true, at(0, 0, "a0"), at(1, 0, "a1"))
	s.moment("early")
	s.append(true, at(0, 1, "b"))
	s.append(false, at(0, 2, "n"))
	s.append(true, at(0, 3, "c"))
	s.l.Append(true, "refused").Fail()
	s.l.Assign("g", "m1", 1, at(0, 0, ""))
	s.l.Assign("g", "m1", 1, at(1, 0, ""))
	s.l.Poll("g", "m1", at(0, 0, "a0"), at(0, 1, "b"), at(1, 0, "a1"))
	s.moment("polled")
	s.l.Commit(false, "g", 1, at(0, 2, "")).OK()
	s.l.Commit(false, "g", 1, at(1, 1, "")).OK()
	s.l.Seek("g", at(1, 0, ""))
	s.l.Assign("g", "m1", 2, at(1, 0, ""))
	s.l.Poll("g", "m1", at(1, 0, "a1"))
	s.append(false, at(0, 4, "tail"))
	s.l.Append(true, "u1", "u2") // nobody knows
	s.l.Poll("g", "m1", at(0, 2, "n"), at(0, 3, "c"), at(0, 4, "tail"))
	s.moment("before the crash")
	s.h.Crash(nil)
	s.append(true, at(0, 4, "ghost")) // after the end

	s.l = s.h.Begin()
	s.l.ReadAll("t", 0, at(0, 0, "a0"), at(0, 1, "b"), at(0, 2, "n"), at(0, 3, "c"))
	s.l.ReadAll("t", 1, at(1, 0, "a1"))
	s.append(true, at(0, 4, "d"))
	s.l.Assign("g", "m2", 1, at(0, 2, ""))
	s.l.Poll("g", "m2", at(0, 2, "n"), at(0, 3, "c"), at(0, 4, "d"))
	s.l.Commit(true, "g", 1, at(0, 5, "")).OK()
	s.append(false, at(1, 1, "e"))
	s.moment("before the close")
	s.l.ReadAll("t", 0, at(0, 0, "a0"), at(0, 1, "b"), at(0, 2, "n"), at(0, 3, "c"), at(0, 4, "d"))
	s.l.ReadAll("t", 1, at(1, 0, "a1"), at(1, 1, "e"))
	s.h.Close()

	s.l = s.h.Begin()
	s.append(true, at(0, 5, "x"))
	s.l.Assign("g", "m3", 1, at(0, 5, ""))
	s.l.Poll("g", "m3", at(0, 5, "x"))
	s.l.ReadAll("t", 0, at(0, 0, "a0"), at(0, 1, "b"), at(0, 2, "n"), at(0, 3, "c"), at(0, 4, "d"), at(0, 5, "x"))
	s.l.ReadAll("t", 1, at(1, 0, "a1"), at(1, 1, "e"))
	s.moment("end")

	ops := s.h.Ops()
	for i := range ops {
		ops[i].Records = slices.Clone(ops[i].Records)
		if s.edit != nil {
			s.edit(&ops[i])
		}
	}
	return ops
}

func TestACleanHistoryHasNoAnomaly(t *testing.T) {
	require.Empty(t, Check((&script{}).ops()))
	require.Empty(t, Check(nil))
}

// on does something at one moment.
func on(name string, f func(*script)) *script {
	return &script{seed: func(moment string, s *script) {
		if moment == name {
			f(s)
		}
	}}
}

// without drops a value from the ops of a type in a life.
func without(kind Type, life int, value string) *script {
	return &script{edit: func(op *Op) {
		if op.Type == kind && op.Life == life {
			op.Records = slices.DeleteFunc(op.Records, func(r Record) bool { return r.Value == value })
		}
	}}
}

func TestEveryAnomalyIsFound(t *testing.T) {
	tests := []struct {
		name   string
		script *script
		kind   Kind
		at     Record
	}{
		{"a record is gone after a close", without(ReadAllOp, 3, "e"), LostWrite, at(1, 1, "e")},
		{"a Sync record is gone after a crash", on("polled", func(s *script) {
			s.append(true, at(1, 1, "y"))
		}), LostWrite, at(1, 1, "y")},
		{"a record ahead of a Sync record is gone after a crash", on("early", func(s *script) {
			s.append(false, at(1, 1, "y"))
		}), LostWrite, at(1, 1, "y")},
		{"a record is gone in the same life", on("before the close", func(s *script) {
			s.append(false, at(1, 2, "y"))
		}), LostWrite, at(1, 2, "y")},
		{"a record that was read is gone in the same life", on("before the close", func(s *script) {
			s.append(true, at(1, 2, "y"))
			s.extra(at(1, 2, "y"))
		}), LostWrite, at(1, 2, "y")},
		{"another value is in the place of a record", &script{seed: func(moment string, s *script) {
			switch moment {
			case "polled":
				s.append(true, at(2, 0, "y"))
			case "before the close":
				s.append(false, at(2, 0, "z"))
			}
		}}, LostWrite, at(2, 0, "y")},
		{"a record that nobody reads", on("early", func(s *script) {
			s.append(true, at(2, 0, "y"))
			s.append(true, at(2, 1, "z"))
			s.l.Assign("g", "m1", 1, at(2, 0, ""))
			s.l.Poll("g", "m1", at(2, 1, "z"))
		}), LostWrite, at(2, 0, "y")},

		{"a refused value is read", on("before the crash", func(s *script) {
			s.extra(at(2, 0, "refused"))
		}), AbortedRead, at(2, 0, "refused")},
		{"a value from nowhere is read", on("before the crash", func(s *script) {
			s.extra(at(2, 0, "phantom"))
		}), AbortedRead, at(2, 0, "phantom")},

		{"two values at an offset", on("polled", func(s *script) {
			s.l.Append(false, "y")
			s.extra(at(0, 1, "y"))
		}), InconsistentOffset, at(0, 1, "b")},
		{"two values acknowledged at an offset", on("before the crash", func(s *script) {
			s.append(false, at(0, 4, "y"))
		}), InconsistentOffset, at(0, 4, "tail")},

		{"a value at two offsets", on("before the crash", func(s *script) {
			s.extra(at(0, 5, "b"))
		}), Duplicate, at(0, 5, "b")},
		{"a value in two partitions", on("end", func(s *script) {
			s.extra(at(2, 0, "b"))
		}), Duplicate, at(2, 0, "b")},

		{"a record comes twice", on("polled", func(s *script) {
			s.l.Poll("g", "m1", at(0, 1, "b"))
		}), NonMonotonicPoll, at(0, 1, "b")},
		{"a member goes back", on("before the crash", func(s *script) {
			s.l.Poll("g", "m1", at(0, 0, "a0"))
		}), NonMonotonicPoll, at(0, 0, "a0")},
		{"a full read goes back", &script{edit: func(op *Op) {
			if op.Type == ReadAllOp && op.Life == 3 && op.Records[0].Partition == 1 {
				op.Records = append(op.Records, at(1, 0, "a1"))
			}
		}}, NonMonotonicPoll, at(1, 0, "a1")},

		{"a member skips a record", without(PollOp, 1, "n"), SkippedPoll, at(0, 2, "n")},
		{"a member skips the first record", without(PollOp, 2, "n"), SkippedPoll, at(0, 2, "n")},
		{"an offset has no record", on("early", func(s *script) {
			s.append(true, at(2, 1, "z"))
			s.l.Assign("g", "m1", 1, at(2, 0, ""))
			s.l.Poll("g", "m1", at(2, 1, "z"))
		}), SkippedPoll, at(2, 0, "z")},

		{"an unsynced Sync record is shown", on("before the crash", func(s *script) {
			s.extra(at(1, 1, "u1"))
		}), PrecommittedRead, at(1, 1, "u1")},
		{"an unsynced Sync record is shown after a crash", on("end", func(s *script) {
			s.l.Append(true, "y")
			s.h.Crash(nil)
			s.l = s.h.Begin()
			s.extra(at(1, 2, "y"))
			s.h.Crash(nil)
			s.l = s.h.Begin()
			s.l.ReadAll("t", 1, at(1, 0, "a1"), at(1, 1, "e"))
		}), PrecommittedRead, at(1, 2, "y")},

		{"half of an append survives", on("end", func(s *script) {
			s.l.Append(true, "y", "z")
			s.h.Crash(nil)
			s.l = s.h.Begin()
			s.l.ReadAll("t", 0, at(0, 0, "a0"), at(0, 1, "b"), at(0, 2, "n"), at(0, 3, "c"), at(0, 4, "d"), at(0, 5, "x"))
			s.l.ReadAll("t", 1, at(1, 0, "a1"), at(1, 1, "e"), at(1, 2, "y"))
		}), TornAppend, at(1, 2, "y")},
		{"half of an acknowledged append survives", on("before the crash", func(s *script) {
			s.append(false, at(0, 5, "y"), at(2, 0, "z"))
			s.h.Crash(nil)
			s.l = s.h.Begin()
			s.l.ReadAll("t", 0, at(0, 0, "a0"), at(0, 1, "b"), at(0, 2, "n"), at(0, 3, "c"))
			s.l.ReadAll("t", 2, at(2, 0, "z"))
			s.h.Crash(nil)
			s.l = s.h.Begin()
		}), TornAppend, at(2, 0, "z")},

		{"a group resumes ahead of its commit", &script{edit: func(op *Op) {
			if op.Type == AssignOp && op.Life == 2 {
				op.Records[0].Offset = 3
			} else if op.Type == PollOp && op.Life == 2 {
				op.Records = op.Records[1:]
			}
		}}, WrongResume, at(0, 3, "")},
		{"a Sync commit is lost", on("end", func(s *script) {
			s.l.Commit(true, "g", 1, at(0, 6, "")).OK()
			s.h.Crash(nil)
			s.l = s.h.Begin()
			s.l.Assign("g", "m4", 1, at(0, 5, ""))
		}), WrongResume, at(0, 5, "")},
		{"a refused commit counts", on("end", func(s *script) {
			s.l.Commit(true, "g", 1, at(0, 6, "")).Fail()
			s.l.Assign("g", "m4", 2, at(0, 6, ""))
		}), WrongResume, at(0, 6, "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := Check(tt.script.ops())
			require.Len(t, found, 1)
			a := found[0]
			require.Equal(t, tt.kind, a.Kind, "%v", a)
			require.Equal(t, tt.at.spot(), spot{place{a.Topic, a.Partition}, a.Offset}, "%v", a)
			if tt.at.Value != "" {
				require.Equal(t, tt.at.Value, a.Values[0])
				require.Contains(t, a.String(), `"`+tt.at.Value+`"`)
			}
			require.True(t, strings.HasPrefix(a.String(), string(tt.kind)+`: topic "t", partition`), a)
		})
	}
}

func TestAHistoryTravelsAsJSON(t *testing.T) {
	h := New()
	var life *Life
	for _, op := range (&script{}).ops() {
		line, err := json.Marshal(op)
		require.NoError(t, err)
		var got Op
		require.NoError(t, json.Unmarshal(line, &got))
		if life == nil || life.n != op.Life {
			life = h.Begin()
		}
		switch op.Type {
		case CrashOp:
			h.Crash(nil)
		case CloseOp:
			h.Close()
		default:
			life.Record(got)
		}
	}
	require.Equal(t, (&script{}).ops(), h.Ops())
}
