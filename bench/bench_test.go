package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain is also the child of a run under test.
func TestMain(m *testing.M) {
	if os.Getenv(cellEnv) != "" {
		runCell()
		return
	}
	os.Exit(m.Run())
}

// TestQuickRun runs the command as CI and a reader do, for everything that is
// there, and looks at what it leaves.
func TestQuickRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, work := t.TempDir(), t.TempDir()
	report, tables, charts := filepath.Join(out, "report.json"), filepath.Join(out, "tables.md"), filepath.Join(out, "charts")
	began := time.Now()
	require.NoError(t, command(ctx, []string{
		"-quick", "-dir", work, "-json", report, "-markdown", tables, "-plot", charts,
	}))
	t.Logf("%v", time.Since(began).Round(time.Second))

	left, err := os.ReadDir(work)
	require.NoError(t, err)
	require.Empty(t, left, "files are left behind")
	require.Equal(t, []int{os.Getpid()}, family(os.Getpid()), "processes are left behind")

	rep, err := readReport(report)
	require.NoError(t, err)
	expectRows(t, rep)
	text, err := os.ReadFile(tables)
	require.NoError(t, err)
	drawn, err := filepath.Glob(filepath.Join(charts, "*.svg"))
	require.NoError(t, err)
	for _, w := range workloads() {
		require.Contains(t, string(text), "### "+w.ID+":")
		require.True(t, slices.ContainsFunc(drawn, func(f string) bool {
			return strings.HasPrefix(filepath.Base(f), w.ID+"-")
		}), "no chart of %s", w.ID)
	}
}

// expectRows expects a row for every variant, durability and peer, with figures
// wherever the peer is there and offers it.
func expectRows(t *testing.T, rep *Report) {
	missing := missingPeers()
	rows := map[string]Row{}
	for _, r := range rep.Rows {
		rows[r.Workload+r.Variant+string(r.Durability)+r.Peer] = r
	}
	for _, w := range workloads() {
		for _, v := range w.Variants {
			if v.Large {
				continue
			}
			for _, d := range v.durabilities() {
				for _, p := range peers() {
					r, ok := rows[w.ID+v.Name+string(d)+p.Name]
					require.True(t, ok, "%s %s %s %s has no row", w.ID, v.Name, d, p.Name)
					switch {
					case !v.Offered(p) || !p.offers(d):
						require.True(t, r.NotOffered)
						require.Nil(t, r.Median)
					case missing[p.Name] != "":
						require.NotEmpty(t, r.Missing)
						require.Nil(t, r.Median, "%s is missing and has a figure", p.Name)
					default:
						require.NotNil(t, r.Median, "%s %s %s %s: %s", w.ID, v.Name, d, p.Name, r.Error)
						require.Positive(t, r.value(*r.Median))
					}
				}
			}
		}
	}
}

// TestAcknowledgedBeforeTheFsyncIsNotDurable keeps peers out of the durable
// tables that do not say how they belong there.
func TestAcknowledgedBeforeTheFsyncIsNotDurable(t *testing.T) {
	for _, p := range peers() {
		require.True(t, p.offers(Durable) || p.offers(Relaxed), p.Name)
		require.NotEqual(t, p.Durable, p.Relaxed, "%s: the same setting cannot be both", p.Name)
	}
}

// loser is a log and a queue that forget, repeat or change what they were given.
type loser struct {
	kept [][]byte
	harm func([][]byte) [][]byte
}

func (l *loser) Append(records [][]byte) error {
	for _, r := range records {
		l.kept = append(l.kept, append([]byte(nil), r...))
	}
	return nil
}

func (l *loser) Replay(_ int, f func([]byte) error) error {
	for _, r := range l.harm(l.kept) {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *loser) Close() error { return nil }

func TestAPeerThatLosesIsAnErrorAndNotAFigure(t *testing.T) {
	for name, harm := range map[string]func([][]byte) [][]byte{
		"loses the last":  func(k [][]byte) [][]byte { return k[:len(k)-1] },
		"loses the first": func(k [][]byte) [][]byte { return k[1:] },
		"repeats":         func(k [][]byte) [][]byte { return append(k, k[0]) },
		"cuts":            func(k [][]byte) [][]byte { k[0] = k[0][:50]; return k },
		"changes":         func(k [][]byte) [][]byte { k[0][60]++; return k },
		"invents":         func(k [][]byte) [][]byte { k[0][0] = 0xff; return k },
	} {
		t.Run(name, func(t *testing.T) {
			l := &loser{harm: func(k [][]byte) [][]byte { return k }}
			c := &Cell{
				Params: Params{Size: 100, Batch: 10, Workers: 1}, Durability: Relaxed,
				Measure: 5 * time.Millisecond, usage: &usage{dir: t.TempDir()},
				peer: &Peer{Log: func(Env) (Log, error) { return l, nil }},
			}
			_, err := runAppend(c)
			require.NoError(t, err, "while it keeps everything")

			l.kept, l.harm = nil, harm
			_, err = runAppend(c)
			require.Error(t, err)
		})
	}
}

// TestAChildThatDiesIsAFailedRow has a cell crash, and one that hangs.
func TestAChildThatDiesIsAFailedRow(t *testing.T) {
	c := &Cell{Workload: "none", Peer: "none", Dir: t.TempDir()}
	_, err := c.start(context.Background(), time.Minute)
	require.ErrorContains(t, err, "unknown workload")

	_, err = (&Cell{
		Workload: "L1", Variant: "100 B x1", Params: Params{Size: 1, Batch: 1, Workers: 1}, // no room for a number
		Peer: "file", Durability: Relaxed, Dir: t.TempDir(), Measure: time.Second,
	}).start(context.Background(), time.Minute)
	require.ErrorContains(t, err, "the process died")
	require.ErrorContains(t, err, "panic: ")

	began := time.Now()
	_, err = (&Cell{
		Workload: "L1", Variant: "100 B x1", Params: Params{Size: 100, Batch: 1, Workers: 1},
		Peer: "file", Durability: Relaxed, Dir: t.TempDir(), Measure: time.Hour,
	}).start(context.Background(), 300*time.Millisecond)
	require.ErrorContains(t, err, "not done after")
	require.Less(t, time.Since(began), 30*time.Second)
	require.Equal(t, []int{os.Getpid()}, family(os.Getpid()))
}

func TestARunThatIsBrokenOffLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(500*time.Millisecond, cancel)
	work := t.TempDir()
	err := command(ctx, []string{"-dir", work, "-run", "L1", "-time", "1h"})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(work)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, []int{os.Getpid()}, family(os.Getpid()))
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-run", "L9"},
		{"-run", "L1/x7"},
		{"-peers", "kinesis"},
		{"-durability", "maybe"},
		{"-rounds", "0"},
		{"-time", "-1s"},
		{"extra"},
		{"-from", filepath.Join(t.TempDir(), "none.json")},
		{"-dir", filepath.Join(t.TempDir(), "none"), "-quick"},
	} {
		require.Error(t, command(context.Background(), args), args)
	}
}

func TestMarkdownLeavesTheTextAround(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("before\n"+tablesBegin+"old\n"+tablesEnd+"after\n"), 0o600))
	require.NoError(t, writeMarkdown(file, &Report{}))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "before\n")
	require.Contains(t, string(text), "after\n")
	require.NotContains(t, string(text), "old")
}

func TestRatios(t *testing.T) {
	rep := &Report{Rows: []Row{
		{Peer: "pebblemq", Samples: []Sample{{Rate: 90}, {Rate: 300}, {Rate: 110}}},
		{Peer: "pebble", Samples: []Sample{{Rate: 55}}},
		{Peer: "file", Samples: []Sample{{Rate: 9999}}},
		{Peer: "jetstream", Samples: []Sample{{Rate: 220}}},
		{Peer: "bbolt", Error: "lost"},
	}}
	for i := range rep.Rows {
		rep.Rows[i].summarise()
	}
	tables := rep.tables()
	require.Len(t, tables, 1)
	us := tables[0].row("pebblemq")
	require.InDelta(t, 110, us.Median.Rate, 0)
	require.InDelta(t, 210.0/110, us.Spread, 1e-9)
	require.InDelta(t, 2, us.ratio(tables[0].engine), 1e-9)
	require.Equal(t, "jetstream", tables[0].best.Peer, "the file is a limit and no rival")
	require.InDelta(t, 0.5, us.ratio(tables[0].best), 1e-9)
	require.Equal(t, "file", tables[0].rows[0].Peer)
	require.Equal(t, "bbolt", tables[0].rows[4].Peer, "failures come last")
	require.Error(t, rep.failures())
}

func TestLessLatencyIsBetter(t *testing.T) {
	a := Row{Params: Params{Rate: 1000}, Samples: []Sample{{Rate: 1, Latency: &Latency{P50: 0.001}}}}
	b := Row{Params: Params{Rate: 1000}, Samples: []Sample{{Rate: 1, Latency: &Latency{P50: 0.004}}}}
	a.summarise()
	b.summarise()
	require.InDelta(t, 4, a.ratio(&b), 1e-9)
}

func TestTheReportNamesTheFlagsThatMatter(t *testing.T) {
	o, err := parseOptions([]string{"-json", "/private/place", "-time", "1s", "-dir", "/another", "-run", "L1"})
	require.NoError(t, err)
	require.Equal(t, "-run L1 -time 1s", o.args)
}

func TestFasterThanTheDiskIsDoubted(t *testing.T) {
	for _, tt := range []struct {
		durability Durability
		p50        float64
		doubted    bool
	}{{Durable, 0.0002, false}, {Durable, 0.00002, true}, {Relaxed, 0.00002, false}} {
		r := Row{Durability: tt.durability, Params: Params{Workers: 1, Batch: 1}}
		r.Samples = []Sample{{Rate: 1, Latency: &Latency{P50: tt.p50}}}
		r.summarise()
		r.doubt(&Row{Median: &Sample{Latency: &Latency{P50: 0.00014}}})
		require.Equal(t, tt.doubted, r.Median.Note != "")
	}
}

func TestALaterReportReplacesWholeTables(t *testing.T) {
	row := func(workload, peer string, rate float64) Row {
		r := Row{Workload: workload, Peer: peer, Samples: []Sample{{Rate: rate}}}
		r.summarise()
		return r
	}
	rep := &Report{Rows: []Row{row("L1", "a", 1), row("L1", "b", 2), row("L2", "a", 3)}}
	rep.replace(&Report{Rows: []Row{row("L1", "a", 10), row("L3", "a", 30)}})
	var rates []float64
	for _, r := range rep.Rows {
		rates = append(rates, r.Median.Rate)
	}
	require.Equal(t, []float64{10, 3, 30}, rates, "b's figure was of another run than a's new one")
}

// forgetful is a queue that drops one message.
type forgetful struct{ *pebbleQueue }

func (q forgetful) Publish(bodies [][]byte) error {
	if q.next.Load() == 0 {
		bodies = bodies[1:]
	}
	return q.pebbleQueue.Publish(bodies)
}

func TestAQueueThatLosesIsAnErrorAndNotAFigure(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	patience = 200 * time.Millisecond
	for name, run := range map[string]func(*Cell) (Sample, error){"cycle": runCycle, "backlog": runBacklog} {
		t.Run(name, func(t *testing.T) {
			c := &Cell{
				Params: Params{Size: 100, Batch: 10, Workers: 2, Count: 1000}, Durability: Relaxed, Dir: t.TempDir(),
				Measure: 20 * time.Millisecond, Budget: time.Second, usage: &usage{dir: t.TempDir()},
				peer: &Peer{Queue: func(e Env) (Queue, error) {
					q, err := openBareQueue(e)
					return forgetful{q}, err
				}},
			}
			_, err := run(c)
			require.ErrorContains(t, err, "1 of ")
			require.ErrorContains(t, err, "messages are lost")
		})
	}
}
