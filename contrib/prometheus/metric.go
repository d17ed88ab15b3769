package prometheus

import (
	"github.com/pebblemq/pebblemq"
	client "github.com/prometheus/client_golang/prometheus"
)

// family is what is exported of a kind of object.
type family struct {
	kind    string   // in the words of pebblemq.Object
	labels  []string // the name of the object, behind that of its parent if it has one
	metrics []metric
	depth   func(info any) float64 // ranks the objects
	age     *client.Desc           // of the oldest message; nil if nothing waits
}

// metric is one figure of each object of a family, or one for each value of a label.
type metric struct {
	desc   *client.Desc
	kind   client.ValueType
	values []string // of the last label; nil if the metric has no label beside those of the object
	read   func(info any) []float64
}

// schema makes the metrics with the labels of a collector.
type schema struct{ labels client.Labels }

func (s schema) desc(name, help string, labels ...string) *client.Desc {
	return client.NewDesc("pebblemq_"+name, help, labels, s.labels)
}

// one is a metric with one figure an object.
func one[I any](desc *client.Desc, kind client.ValueType, read func(I) float64) metric {
	return metric{desc: desc, kind: kind, read: func(info any) []float64 { return []float64{read(info.(I))} }}
}

// several is a metric with one figure for each value of its last label.
func several[I any](desc *client.Desc, kind client.ValueType, values []string, read func(I) []float64) metric {
	return metric{desc: desc, kind: kind, values: values, read: func(info any) []float64 { return read(info.(I)) }}
}

// labelsOf are the values of the labels of an object.
func (f *family) labelsOf(o pebblemq.Object) []string {
	if d, is := o.Info.(deadLetters); is {
		return []string{d.kind, o.Parent, o.Name}
	}
	if len(f.labels) == 1 {
		return []string{o.Name}
	}
	return []string{o.Parent, o.Name}
}

// emit sends the figures of a metric, in the order of read.
func (m *metric) emit(ch chan<- client.Metric, labels []string, figures []float64) {
	for i, v := range figures {
		with := labels
		if m.values != nil {
			with = append(labels[:len(labels):len(labels)], m.values[i])
		}
		ch <- client.MustNewConstMetric(m.desc, m.kind, v, with...)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
