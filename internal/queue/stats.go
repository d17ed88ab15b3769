package queue

// Stats counts what is in a lane.
type Stats struct {
	Ready, Taken, Delayed uint64
	Bytes                 uint64 // of data and payloads, of all three
	ReadyBytes            uint64 // of these, of what is ready; in a lane with leases, once it is Recalled
	Unreadable            uint64 // are left on disk because they cannot be read; see unreadable.go
	Untried               uint64 // of what is ready, nobody gets now; see crash.untried
	Outlived              uint64 // were dropped at the end of their retention, ever
}

func (s *Stats) add(o Stats) {
	s.Ready, s.Taken, s.Delayed, s.Bytes = s.Ready+o.Ready, s.Taken+o.Taken, s.Delayed+o.Delayed, s.Bytes+o.Bytes
	s.ReadyBytes += o.ReadyBytes
	s.Outlived += o.Outlived
	s.Untried += o.Untried
	s.Unreadable += o.Unreadable
}
