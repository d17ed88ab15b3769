package prometheus

import (
	"github.com/pebblemq/pebblemq"
	client "github.com/prometheus/client_golang/prometheus"
)

// rest is the sum over the objects of a family that have no series of their own.
//
// Which these are changes. A gauge is summed anew with each collection. If a counter were, it would
// fall whenever an object leaves the rest, and rate() takes a fall for a restart. So a counter
// counts what happened to an object while it was one of the rest, which needs the figures of the
// collection before.
type rest struct {
	f    *family
	sums [][]float64                     // of counters, by metric
	last map[pebblemq.Object][][]float64 // counters of all objects, by metric
	used bool                            // there were more objects than series once
}

func newRest(f *family) *rest {
	r := &rest{f: f, sums: make([][]float64, len(f.metrics)), last: make(map[pebblemq.Object][][]float64)}
	for i, m := range f.metrics {
		r.sums[i] = make([]float64, max(len(m.values), 1))
	}
	return r
}

// collect sends the sums, once there is a rest.
func (r *rest) collect(ch chan<- client.Metric, shown, others []pebblemq.Object) {
	last := make(map[pebblemq.Object][][]float64, len(shown)+len(others))
	for _, o := range shown {
		last[place(o)] = r.figures(o)
	}
	gauges := make([][]float64, len(r.f.metrics))
	for i := range r.f.metrics {
		gauges[i] = make([]float64, len(r.sums[i]))
	}
	for _, o := range others {
		now, before := r.figures(o), r.last[place(o)]
		last[place(o)] = now
		for i, m := range r.f.metrics {
			for j, v := range now[i] {
				if m.kind == gauge {
					gauges[i][j] += v
				} else {
					r.sums[i][j] += increase(before, i, j, v)
				}
			}
		}
	}
	r.last = last
	if r.used = r.used || len(others) > 0; !r.used {
		return
	}
	none := make([]string, len(r.f.labels))
	for i, m := range r.f.metrics {
		if m.kind == gauge {
			m.emit(ch, none, gauges[i])
		} else {
			m.emit(ch, none, r.sums[i])
		}
	}
}

func (r *rest) figures(o pebblemq.Object) [][]float64 {
	list := make([][]float64, len(r.f.metrics))
	for i, m := range r.f.metrics {
		list[i] = m.read(o.Info)
	}
	return list
}

// increase is how far a counter has come. An object that was deleted and created again counts
// from 0, as one that is new.
func increase(before [][]float64, i, j int, now float64) float64 {
	if before == nil || before[i][j] > now {
		return now
	}
	return now - before[i][j]
}
