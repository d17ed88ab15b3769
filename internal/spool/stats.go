package spool

// Stats counts what is in a spool.
type Stats struct {
	Ready, Taken, Delayed uint64
	Bytes                 uint64 // of data and payloads, of all three
	ReadyBytes            uint64 // of these, of what is ready; in a spool with leases, once it is Recalled
	Outlived              uint64 // were dropped at the end of their retention, ever
}

func (s *Stats) add(o Stats) {
	s.Ready, s.Taken, s.Delayed, s.Bytes = s.Ready+o.Ready, s.Taken+o.Taken, s.Delayed+o.Delayed, s.Bytes+o.Bytes
	s.ReadyBytes += o.ReadyBytes
	s.Outlived += o.Outlived
}

// Stats returns the counters, exact as of the last accepted operation. Until
// Recalled, a lease that ended while the store was closed counts as taken.
func (q *Spool) Stats() Stats {
	taken := uint64(q.taken) + q.unloaded
	return Stats{
		Ready:   q.meta.entries - taken,
		Taken:   taken,
		Delayed: q.meta.delayed,
		Bytes:   q.meta.bytes + q.meta.delayedBytes,

		Outlived: q.meta.outlived,

		ReadyBytes: q.meta.bytes - q.outBytes,
	}
}
