package main

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Sample is what one round measured. Zero fields were not measured.
type Sample struct {
	Rate       float64            `json:"rate"` // units of the workload a second
	Count      int64              `json:"count"`
	Seconds    float64            `json:"seconds"`
	Latency    *Latency           `json:"latency,omitempty"` // of a call, or end to end
	Allocs     float64            `json:"allocs,omitempty"`  // a unit, in our process
	AllocBytes float64            `json:"alloc_bytes,omitempty"`
	Memory     uint64             `json:"memory_bytes,omitempty"`  // peak resident
	Written    uint64             `json:"written_bytes,omitempty"` // to the disk while measured
	Disk       uint64             `json:"disk_bytes,omitempty"`    // used at the end
	Extra      map[string]float64 `json:"extra,omitempty"`
	Note       string             `json:"note,omitempty"`
}

// Latency is in seconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*time.Minute), 2)
}

func latencyOf(hs ...*hdrhistogram.Histogram) *Latency {
	all := newHistogram()
	for _, h := range hs {
		all.Merge(h)
	}
	if all.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) float64 { return time.Duration(all.ValueAtQuantile(q)).Seconds() }
	return &Latency{P50: at(50), P99: at(99), P999: at(99.9), Max: time.Duration(all.Max()).Seconds()}
}

// pace is how long a round warms up and measures.
type pace struct {
	warm, measure time.Duration
}

// lane is what one goroutine counts, on a cache line of its own.
type lane struct {
	units atomic.Int64
	hist  *hdrhistogram.Histogram
	_     [48]byte
}

// step does one call and returns how many units that was.
type step func() (units int, err error)

// errDone ends a worker that has nothing left to do.
var errDone = errors.New("done")

// drive has workers call their steps, first to warm up and then measured, until
// the time is up or all have ended. One call in timeEvery is timed.
func drive(p pace, c *Cell, workers, timeEvery int, worker func(w int) (step, error)) (Sample, error) {
	lanes := make([]lane, workers)
	var measuring, stop atomic.Bool
	var failed atomic.Pointer[error]
	fail := func(err error) {
		failed.CompareAndSwap(nil, &err)
		stop.Store(true)
	}
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		call, err := worker(w)
		if err != nil {
			return Sample{}, err
		}
		l := &lanes[w]
		l.hist = newHistogram()
		wg.Go(func() {
			<-begin
			for i := 0; !stop.Load(); i++ {
				err := l.timed(call, i%timeEvery == 0 && measuring.Load())
				if errors.Is(err, errDone) {
					return
				}
				if err != nil {
					fail(err)
					return
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()

	close(begin)
	wait(ended, p.warm)
	m := startMeter(c, lanes)
	measuring.Store(true)
	wait(ended, p.measure)
	for enough := fewestCalls * int64(c.batch()); total(lanes)-m.units < enough && time.Since(m.start) < p.most(); {
		if wait(ended, p.measure/4+time.Millisecond) {
			break
		}
	}
	s := m.stop(lanes)
	stop.Store(true)
	<-ended
	if err := failed.Load(); err != nil {
		return s, *err
	}
	var hs []*hdrhistogram.Histogram
	for i := range lanes {
		hs = append(hs, lanes[i].hist)
	}
	s.Latency = latencyOf(hs...)
	return s, nil
}

func (l *lane) timed(call step, timed bool) error {
	var start time.Time
	if timed {
		start = time.Now()
	}
	n, err := call()
	if err != nil {
		return err
	}
	l.units.Add(int64(n))
	if timed {
		return l.hist.RecordValue(int64(time.Since(start)))
	}
	return nil
}

// A peer whose calls take long is measured until it has done a few, but not for
// ever.
const fewestCalls = 10

func (p pace) most() time.Duration { return max(10*p.measure, 3*time.Second) }

// wait reports whether ended was closed within d.
func wait(ended <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ended:
		return true
	case <-t.C:
		return false
	}
}

// meter takes the difference of all counters between two moments.
type meter struct {
	c       *Cell
	start   time.Time
	units   int64
	mem     runtime.MemStats
	written uint64
}

func startMeter(c *Cell, lanes []lane) *meter {
	m := &meter{c: c}
	c.usage.reset()
	runtime.ReadMemStats(&m.mem)
	m.written = c.usage.written()
	m.start, m.units = time.Now(), total(lanes)
	return m
}

func (m *meter) stop(lanes []lane) Sample {
	elapsed, units := time.Since(m.start).Seconds(), total(lanes)-m.units
	s := m.sample(elapsed, units)
	return s
}

// sample is the figures for so many units in so many seconds.
func (m *meter) sample(elapsed float64, units int64) Sample {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s := Sample{
		Count: units, Seconds: elapsed,
		Written: m.c.usage.written() - m.written,
		Memory:  m.c.usage.peak(),
	}
	if elapsed > 0 {
		s.Rate = float64(units) / elapsed
	}
	if units > 0 {
		s.Allocs = float64(mem.Mallocs-m.mem.Mallocs) / float64(units)
		s.AllocBytes = float64(mem.TotalAlloc-m.mem.TotalAlloc) / float64(units)
	}
	return s
}

func total(lanes []lane) (n int64) {
	for i := range lanes {
		n += lanes[i].units.Load()
	}
	return n
}
