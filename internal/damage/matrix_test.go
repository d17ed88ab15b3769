// Package damage tests what a store makes of damaged files, in processes of their
// own. Its tests use the public API only.
//
// A case damages one file of a store, before the store is opened or while it is
// in use, and then uses all layers. It must end in one of two ways: everything
// that was acknowledged is there, or an error of package pebblemq names the file.
package damage

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var (
	full    = flag.Bool("full", false, "run all cases, not the first of all kinds, and print a table of what became of them")
	oneCase = flag.Int("case", -1, "run only the case, or fail only the read, of this number")
	silent  = flag.Duration("silent", 30*time.Second, "how long a call may take before it counts as a hang")
	keep    = flag.String("keep", "", "keep the stores of failed cases, before and after, in this directory")
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := childMain(text); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(fmt.Sprint(casesEach * runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(stores.root)
		os.Exit(code)
	}))
}

const (
	allCases   = 1000
	laterCases = 12  // behind the others, of laterCells
	fewCases   = 100 // without -full
	shortCases = 25  // under -short
	casesEach  = 4   // at a time for each processor: most of them wait for the store to repeat a read
	fewSteps   = 250 // of the life that meets the damage, in the first cases
	manySteps  = 900 // in the others: more flushes and compactions
	manySeeds  = 4   // of stores, with -full
)

// cell is a kind of file and what happens to it.
type cell struct {
	kind   kind
	damage damage
}

// cells lists all cells once, and then those again that most data depends on.
func cells() []cell {
	return cellsOf([][]kind{
		{kindTable, kindWAL, kindManifest, kindMarker, kindOptions, kindFormat, kindSynced, kindLock},
		{kindTable, kindWAL, kindManifest}, {kindTable, kindWAL}, {kindTable}, {kindTable},
	})
}

// laterCells came when the numbers of the others were in use already.
func laterCells() []cell { return cellsOf([][]kind{{kindBallast}}) }

func cellsOf(groups [][]kind) (all []cell) {
	damages := []damage{flip, zero, cut, extend, swap, remove, oldCopy}
	for _, kinds := range groups {
		for _, d := range damages {
			for _, k := range kinds {
				if !slices.Contains(inapplicable[k], d) {
					all = append(all, cell{k, d})
				}
			}
		}
	}
	return all
}

// matrixCase is one case. All of it follows from its number.
type matrixCase struct {
	number  int
	cell    cell
	variant int  // of the bases
	running bool // the damage comes while the store is open
	steps   int
	kill    bool // the life that meets it ends in a kill
	random  *rand.Rand
}

func caseOf(n int) matrixCase {
	random := rand.New(rand.NewPCG(uint64(n), 2))
	all := cells()
	if n >= allCases {
		all = laterCells()
	}
	steps := fewSteps
	if n >= fewCases && n < allCases {
		steps = manySteps
	}
	return matrixCase{
		steps: steps, number: n, cell: all[n%len(all)], random: random,
		variant: random.IntN(3), running: random.IntN(2) == 0, kill: random.IntN(2) == 0,
	}
}

func (c matrixCase) String() string {
	moment, end := "before opening", "closed"
	if c.running {
		moment = "while running"
	}
	if c.kill {
		end = "killed"
	}
	return fmt.Sprintf("%s, %s, %s, %s after it", c.cell.kind, c.cell.damage, moment, end)
}

// numbers returns those of the cases to run, and how many seeds they need.
func numbers() (cases []int, seeds int) {
	count, seeds := fewCases, 1
	if testing.Short() {
		count = shortCases
	}
	if *full || *oneCase >= fewCases {
		count, seeds = allCases, manySeeds
	}
	for n := range count {
		cases = append(cases, n)
	}
	for n := range laterCases {
		cases = append(cases, allCases+n)
	}
	if *oneCase >= 0 {
		cases = slices.DeleteFunc(cases, func(n int) bool { return n != *oneCase })
	}
	return cases, seeds
}

// TestMatrix runs 100 cases and the later ones, all with -full, or one with -case.
func TestMatrix(t *testing.T) {
	t.Parallel()
	cases, seeds := numbers()
	for seed := range seeds {
		_, err := stores.of(seed)
		require.NoError(t, err)
	}
	table := newSummary()
	t.Cleanup(func() {
		if *full {
			t.Log(table)
		}
	})
	for _, n := range cases {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			c := caseOf(n)
			from, err := stores.of(n / fewCases % seeds)
			require.NoError(t, err)
			h, v, err := c.run(copyOf(t, from.all()[c.variant]), from.all()[(c.variant+1)%3])
			if errors.Is(err, errNothing) {
				t.Skip(err)
			}
			require.NoError(t, err)
			table.add(c.cell, v.worst())
			if !v.worst().right() {
				t.Errorf("case %d: %s\n%s: %s\n%s\n%s", n, c, from.all()[c.variant].name, h, v, stacksOf(v.stacks))
			}
		})
	}
}

// run damages a store and lets two processes use it: the first one meets the
// damage, the second one sees what the first has made of it.
func (c matrixCase) run(store, other base) (*harm, verdict, error) {
	h := &harm{
		kind: c.cell.kind, damage: c.cell.damage, random: c.random, dir: store.dir(),
		older: []string{store.middle(), store.first()}, other: other.dir(),
	}
	if !c.running {
		if err := h.do(); err != nil {
			return h, verdict{}, fmt.Errorf("case %d: %s: %w", c.number, c, err)
		}
	}
	p := plan{Dir: store.dir(), Ledger: store.ledger(), Seed: uint64(c.number), Steps: c.steps, Kill: c.kill, Pauses: c.running}
	first, err := run(p, func(moment string) error {
		if moment == "opened" {
			h.older = []string{filepath.Join(store.root, "opened"), store.first()}
			return copyDir(h.dir, h.older[0])
		}
		return h.do()
	})
	if err != nil {
		return h, verdict{}, fmt.Errorf("case %d: %s: %w", c.number, c, err)
	}
	p.Kill, p.Pauses, p.Drain, p.Steps = false, false, true, c.steps/2
	second, err := run(p, nil)
	v := judge(h, first, second)
	if err == nil && !v.worst().right() && *keep != "" {
		err = copyDir(store.root, filepath.Join(*keep, fmt.Sprint(c.number)))
	}
	return h, v, err
}

// stacksOf returns the goroutines of a process that are inside this module.
func stacksOf(stderr string) string {
	var b strings.Builder
	for _, g := range strings.Split(stderr, "\n\n") {
		if strings.HasPrefix(g, "goroutine ") && strings.Contains(g, "github.com/pebblemq/pebblemq/internal/damage.(*life).run(") {
			b.WriteString(g + "\n\n")
		}
	}
	return b.String()
}

// TestUndamagedStoresHoldEverything is the same without damage: the test itself
// must find nothing.
func TestUndamagedStoresHoldEverything(t *testing.T) {
	all, err := stores.of(0)
	require.NoError(t, err)
	for i, from := range all.all() {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed %t", from.name, kill), func(t *testing.T) {
				t.Parallel()
				store := copyOf(t, from)
				p := plan{Dir: store.dir(), Ledger: store.ledger(), Seed: uint64(i), Steps: fewSteps, Kill: kill}
				first, err := run(p, nil)
				require.NoError(t, err)
				p.Kill, p.Drain = false, true
				second, err := run(p, nil)
				require.NoError(t, err)
				v := judge(nil, first, second)
				require.Equal(t, allBack, v.worst(), "%s\n%s", v, stacksOf(v.stacks))
			})
		}
	}
}

// summary counts what became of the cases of each cell.
type summary struct {
	mu     sync.Mutex
	counts map[cell]map[finding]int
}

func newSummary() *summary { return &summary{counts: make(map[cell]map[finding]int)} }

func (s *summary) add(c cell, f finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[c] == nil {
		s.counts[c] = make(map[finding]int)
	}
	s.counts[c][f]++
}

func (s *summary) String() string {
	var b strings.Builder
	total := make(map[finding]int)
	fmt.Fprintf(&b, "\n%-10s %-13s", "file", "damage")
	for _, f := range findings {
		fmt.Fprintf(&b, " %7.7s", f)
	}
	seen := make(map[cell]bool)
	for _, c := range append(cells(), laterCells()...) {
		if seen[c] || s.counts[c] == nil {
			continue
		}
		seen[c] = true
		fmt.Fprintf(&b, "\n%-10s %-13s", c.kind, c.damage)
		for _, f := range findings {
			fmt.Fprintf(&b, " %7d", s.counts[c][f])
			total[f] += s.counts[c][f]
		}
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "\n%6d %s", total[f], f)
	}
	return b.String()
}
