package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// Cell is one peer at one variant of a workload. It runs in a process of its own,
// so that memory is the peer's alone, and a crash or a leak is the end of the
// cell and not of the run.
type Cell struct {
	Workload   string
	Variant    string
	Params     Params
	Peer       string
	Durability Durability
	Dir        string // the peer's, kept from Prepare to the last round
	Round      int
	Serial     int // of the cell in its run, from 1
	Prepare    bool
	Warm       time.Duration
	Measure    time.Duration
	Budget     time.Duration // for a backlog
	Fill       time.Duration // for Prepare
	Profile    string        // file; empty is none

	peer  *Peer
	usage *usage
}

func (c *Cell) env() Env { return Env{Dir: c.Dir, Durability: c.Durability} }

// pace gives servers longer to warm up, for some of them compile meanwhile.
func (c *Cell) pace() pace {
	if c.peer.Server != nil {
		return pace{5 * c.Warm, c.Measure}
	}
	return pace{c.Warm, c.Measure}
}

// batch is how many units a call is.
func (c *Cell) batch() int { return max(c.Params.Batch, 1) }

func (c *Cell) String() string {
	return fmt.Sprintf("%s %s, %s, %s", c.Workload, c.Variant, c.Peer, c.Durability)
}

// cellEnv marks a process that runs a cell; the cell comes through stdin, the
// outcome goes to file 3.
const cellEnv = "PEBBLEMQ_BENCH_CELL"

type outcome struct {
	Sample     Sample
	Error      string
	Unfinished bool
}

// errUnfinished is that a peer was too slow to be prepared for a workload, which
// is a finding and not a failure.
var errUnfinished = errors.New("too slow")

// prospect tells early that something will take too long.
type prospect struct {
	count int
	limit time.Duration
	began time.Time
}

func newProspect(count int, limit time.Duration) prospect { return prospect{count, limit, time.Now()} }

// check returns errUnfinished once the time is up, or a fifth of it and the rest
// will not do.
func (p prospect) check(done int) error {
	took := time.Since(p.began)
	if took < p.limit/5 || float64(done)/float64(p.count) >= took.Seconds()/p.limit.Seconds() {
		return nil
	}
	return fmt.Errorf("%w: %s of %s after %v", errUnfinished, rate(float64(done)), rate(float64(p.count)), took.Round(time.Second))
}

// runCell is the child's side.
func runCell() {
	var c Cell
	var o outcome
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		o.Sample, err = c.run()
	}
	if err != nil {
		o.Error, o.Unfinished = err.Error(), errors.Is(err, errUnfinished)
	}
	if err := json.NewEncoder(os.NewFile(3, "outcome")).Encode(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c *Cell) run() (Sample, error) {
	_, v, ok := findVariant(c.Workload, c.Variant)
	if !ok {
		return Sample{}, fmt.Errorf("unknown workload %s %s", c.Workload, c.Variant)
	}
	if c.peer = findPeer(c.Peer); c.peer == nil {
		return Sample{}, fmt.Errorf("unknown peer %s", c.Peer)
	}
	c.usage = &usage{dir: c.Dir}
	if s := c.peer.Server; s != nil {
		at, err := s.find()
		if err != nil {
			return Sample{}, err
		}
		c.usage.pid, c.usage.dir = at.pid, at.dir
	}
	defer c.usage.watch()()
	pool()
	c.usage.before = procField(os.Getpid(), "status", "VmRSS:") << 10
	stop, err := c.startProfile()
	if err != nil {
		return Sample{}, err
	}
	defer stop()
	if c.Prepare {
		return Sample{}, v.Prepare(c)
	}
	s, err := v.Run(c)
	if err == nil && s.Count == 0 {
		err = errors.New("nothing was measured")
	}
	if s.Disk == 0 {
		s.Disk = c.usage.disk()
	}
	return s, err
}

func (c *Cell) startProfile() (stop func(), err error) {
	if c.Profile == "" {
		return func() {}, nil
	}
	name := c.Profile
	if c.Prepare {
		name += ".prepare"
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, pprof.StartCPUProfile(f)
}

// start is the parent's side. The child and whatever it starts are gone when it
// returns.
func (c *Cell) start(ctx context.Context, limit time.Duration) (Sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		return Sample{}, err
	}
	defer r.Close()
	spec, err := json.Marshal(c)
	if err != nil {
		return Sample{}, errors.Join(err, w.Close())
	}
	exe, err := os.Executable()
	if err != nil {
		return Sample{}, errors.Join(err, w.Close())
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), cellEnv+"=1")
	cmd.Stdin = bytes.NewReader(spec)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second

	// The kernel signals a child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return Sample{}, err
	}
	var o outcome
	bad := json.NewDecoder(r).Decode(&o)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return Sample{}, context.Cause(ctx)
	case bad != nil || err != nil:
		return Sample{}, fmt.Errorf("the process died: %w: %s", errors.Join(err, bad), lastWords(said.String()))
	case o.Unfinished:
		return o.Sample, fmt.Errorf("%w%s", errUnfinished, strings.TrimPrefix(o.Error, errUnfinished.Error()))
	case o.Error != "":
		return o.Sample, errors.New(o.Error)
	}
	return o.Sample, nil
}

// lastWords is the reason of a panic, or else the end of what a process said.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") {
			return strings.Join(lines[i:min(i+3, len(lines))], " | ")
		}
	}
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
