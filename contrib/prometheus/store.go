package prometheus

import (
	"github.com/pebblemq/pebblemq"
	client "github.com/prometheus/client_golang/prometheus"
)

// storeMetric is one figure of the store itself.
type storeMetric struct {
	desc *client.Desc
	kind client.ValueType
	read func(pebblemq.Stats) float64
}

func (s schema) store() []storeMetric {
	m := func(name, help string, kind client.ValueType, read func(pebblemq.Stats) float64) storeMetric {
		return storeMetric{s.desc("store_"+name, help), kind, read}
	}
	return []storeMetric{
		m("operations_total", "Changes made.", counter, func(st pebblemq.Stats) float64 { return float64(st.Operations) }),
		m("refused_operations_total", "Changes refused.", counter, func(st pebblemq.Stats) float64 { return float64(st.Refused) }),
		m("batches_total", "Batches that changes were gathered in.", counter, func(st pebblemq.Stats) float64 { return float64(st.Groups) }),
		m("unsynced_age_seconds", "Age of the oldest change that is not on disk.", gauge, func(st pebblemq.Stats) float64 { return st.UnsyncedAge.Seconds() }),
		m("disk_bytes", "Size of the store on disk.", gauge, func(st pebblemq.Stats) float64 { return float64(st.DiskBytes) }),
		m("disk_free_bytes", "Room that the disk has left; 0 for a store in memory.", gauge, func(st pebblemq.Stats) float64 { return float64(st.FreeBytes) }),
		m("wal_bytes", "Size of the write-ahead log.", gauge, func(st pebblemq.Stats) float64 { return float64(st.WALBytes) }),
		m("shared_bytes", "Size of the bodies that several queues share, about.", gauge, func(st pebblemq.Stats) float64 { return float64(st.SharedBytes) }),
		m("tables", "Table files.", gauge, func(st pebblemq.Stats) float64 { return float64(st.Tables) }),
		m("memory_bytes", "Write buffers and block cache.", gauge, func(st pebblemq.Stats) float64 { return float64(st.MemoryBytes) }),
		m("damaged_files", "Files in which a read met damage.", gauge, func(st pebblemq.Stats) float64 { return float64(len(st.Damaged)) }),
		m("failed", "1 if the disk has failed and writes are refused.", gauge, func(st pebblemq.Stats) float64 { return number(st.Failed) }),
		m("full", "1 if growth is refused because the disk is full, or the system short of something.", gauge, func(st pebblemq.Stats) float64 { return number(st.DiskFull) }),
	}
}

func (c *Collector) collectStore(ch chan<- client.Metric, st pebblemq.Stats) {
	for _, m := range c.store {
		ch <- client.MustNewConstMetric(m.desc, m.kind, m.read(st))
	}
	buckets, sum := make(map[float64]uint64), uint64(0)
	for i, bound := range pebblemq.SyncBounds() {
		sum += st.SyncBuckets[i]
		buckets[bound.Seconds()] = sum
	}
	ch <- client.MustNewConstHistogram(c.syncs, st.Syncs, st.SyncTime.Seconds(), buckets)
}
