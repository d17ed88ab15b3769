package damage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// indexes are the numbers of reads that fail, one in each round.
type indexes struct {
	From, To, Step int
	Sticky         bool // the read fails whenever it is repeated; else only once
}

const (
	secondLife = "second life"
	allReads   = "reads" // how many reads there are in a life without faults
	readSteps  = 250
	fewReads   = 25 // that fail without -full, in each of two modes
	shortReads = 6  // under -short
	children   = 8  // at a time in each mode; they mostly wait for compactions that repeat a read
)

// TestReadErrors makes one read of a life fail with EIO: all of them in turn
// with -full, else some. It must end as a case of the matrix does. Then a second
// life without faults must find all that was acknowledged: nothing is damaged.
func TestReadErrors(t *testing.T) {
	t.Parallel() // with the matrix, because both mostly wait
	all, err := stores.of(0)
	require.NoError(t, err)
	for _, sticky := range []bool{false, true} {
		t.Run(fmt.Sprintf("sticky %t", sticky), func(t *testing.T) {
			t.Parallel()
			s := readSweep{t: t, from: all.killed, sticky: sticky}
			total := s.count()
			step := max(1, total/fewReads)
			switch {
			case *full:
				step = 1
			case testing.Short():
				step = max(1, total/shortReads)
			}
			x := indexes{From: 1, To: total, Step: step, Sticky: sticky}
			if *oneCase >= 0 {
				x.From, x.To = *oneCase, *oneCase
			}
			require.NoError(t, s.all(x))
			t.Logf("%d of %d reads failed: %v", s.done, total, s.found)
		})
	}
}

// readSweep is the parent's side of a sweep over all reads.
type readSweep struct {
	t      *testing.T
	from   base
	sticky bool

	mu    sync.Mutex
	done  int
	found map[finding]int
}

func (s *readSweep) plan(x indexes) plan {
	return plan{Dir: s.from.dir(), Ledger: s.from.ledger(), Seed: 1, Steps: readSteps, Reads: &x}
}

// count runs a life without faults and returns how many reads there are.
func (s *readSweep) count() (total int) {
	o, err := run(s.plan(indexes{From: 1, To: 0, Step: 1}), nil)
	require.NoError(s.t, err)
	for _, r := range o.Reports {
		if r.Kind == phase && r.What == allReads {
			total, err = strconv.Atoi(r.Text)
			require.NoError(s.t, err)
		}
	}
	require.Greater(s.t, total, 100)
	return total
}

// all distributes the indexes over several children.
func (s *readSweep) all(x indexes) error {
	var wait sync.WaitGroup
	var errs [children]error
	for i := range errs {
		part := indexes{From: x.From + i*x.Step, To: x.To, Step: children * x.Step, Sticky: x.Sticky}
		wait.Go(func() { errs[i] = s.rounds(part) })
	}
	wait.Wait()
	return errors.Join(errs[:]...)
}

// rounds starts children that go through the indexes. If one dies or hangs, the
// next child goes on behind the index that it came to.
func (s *readSweep) rounds(x indexes) error {
	for x.From <= x.To {
		o, err := run(s.plan(x), nil)
		if err != nil {
			return err
		}
		s.judge(o)
		if o.Ended {
			return nil
		}
		last := x.From
		for _, r := range o.Reports {
			if n, err := strconv.Atoi(r.What); r.Kind == phase && err == nil {
				last = n
			}
		}
		x.From = last + x.Step
	}
	return nil
}

// judge splits the reports of a child into those of each index.
func (s *readSweep) judge(o outcome) {
	var lives []outcome
	var h *harm
	index := ""
	through := func(last bool) {
		if index == "" {
			return
		}
		if last && !o.Ended {
			end := &lives[len(lives)-1]
			end.Hung, end.Exit, end.Ended, end.Last, end.Stderr = o.Hung, o.Exit, false, o.Last, o.Stderr
		}
		s.verdict(index, h, lives)
	}
	for _, r := range o.Reports {
		switch {
		case r.Kind == phase && r.What == secondLife:
			lives = append(lives, outcome{Ended: true})
		case r.Kind == phase && r.What == allReads:
		case r.Kind == phase:
			through(false)
			index, h, lives = r.What, nil, []outcome{{Ended: true}}
		case r.Kind == fault:
			h = &harm{file: r.Text, spot: r.What, damage: unreadable, names: []string{r.Text}}
		default:
			life := &lives[len(lives)-1]
			life.Reports = append(life.Reports, r)
		}
	}
	through(true)
}

// verdict judges one index. The second life has no fault that could excuse it.
func (s *readSweep) verdict(index string, h *harm, lives []outcome) {
	v := judge(h, lives[0])
	for f, example := range judge(nil, lives[1:]...).examples {
		v.add(f, "after the fault, %s", example)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found == nil {
		s.found = make(map[finding]int)
	}
	s.done++
	s.found[v.worst()]++
	if !v.worst().right() {
		s.t.Errorf("read %s, %v\n%s\n%s", index, h, v, stacksOf(v.stacks))
	}
}

// sweep is what the child does: two lives in a copy of the store for each index.
func sweep(p plan, out func(report)) error {
	files, err := contents(p.Dir)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(p.Ledger)
	if err != nil {
		return err
	}
	x := *p.Reads
	if x.To == 0 {
		err = oneRead(p, files, text, 0, out)
	}
	for n := x.From; n <= x.To && err == nil; n += x.Step {
		err = oneRead(p, files, text, n, out)
	}
	if err == nil {
		out(report{Kind: end})
	}
	return err
}

// oneRead lives twice, with the n-th read failing in the first life.
func oneRead(p plan, files map[string][]byte, ledger []byte, n int, out func(report)) error {
	disk := vfs.NewMem()
	if err := fill(disk, files); err != nil {
		return err
	}
	out(report{Kind: phase, What: strconv.Itoa(n)})
	f := &readFault{index: n, sticky: p.Reads.Sticky, report: out}
	account := bytes.NewBuffer(bytes.Clone(ledger))
	live := func(p plan, fs vfs.FS) {
		l := readLedger(bytes.NewReader(bytes.Clone(account.Bytes())), account)
		newLife(p, l, out, nil).run(func() (*pebblemq.DB, error) {
			return storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes, Logger: warnings()})
		})
	}
	live(p, errorfs.Wrap(disk, f))
	f.stop()
	out(report{Kind: phase, What: allReads, Text: strconv.Itoa(f.seen)})
	out(report{Kind: phase, What: secondLife})
	p.Drain, p.Steps = true, p.Steps/4
	live(p, disk)
	return nil
}

// readFault is an injector that makes one read fail as a broken disk does.
type readFault struct {
	index  int
	sticky bool
	report func(report)

	mu      sync.Mutex
	seen    int
	bad     errorfs.Op // that failed
	stopped bool
}

func (f *readFault) String() string { return fmt.Sprintf("read %d fails", f.index) }

func (f *readFault) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpOpen, errorfs.OpList, errorfs.OpStat, errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpFileStat:
	default:
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	again := f.sticky && f.bad == op
	if f.stopped || f.seen != f.index && !again {
		return nil
	}
	if !again {
		f.bad = op
		f.report(report{Kind: fault, What: fmt.Sprintf("%s at %d", verbs[op.Kind], op.Offset), Text: filepath.Base(op.Path)})
	}
	return &os.PathError{Op: verbs[op.Kind], Path: op.Path, Err: syscall.EIO}
}

var verbs = map[errorfs.OpKind]string{
	errorfs.OpOpen: "open", errorfs.OpList: "readdirent", errorfs.OpStat: "stat",
	errorfs.OpFileRead: "read", errorfs.OpFileReadAt: "read", errorfs.OpFileStat: "stat",
}

func (f *readFault) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// contents reads all files of a directory.
func contents(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// fill makes the directory "data" of a file system.
func fill(fs vfs.FS, files map[string][]byte) error {
	if err := fs.MkdirAll("data", 0o755); err != nil {
		return err
	}
	for name, b := range files {
		f, err := fs.Create(fs.PathJoin("data", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
