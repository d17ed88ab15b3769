package log

// aim finds a time with few looks. Each look reads a whole batch, and times mostly grow with
// offsets as steadily as records come. So after a look at both ends it goes where the time would
// be if they grew evenly. Every third look halves what is left, so that any times are found.
//
//	maxTime │              ·
//	  nanos │- - - - - ·   ╎
//	        │ ·        ╎
//	        └─lo───────?───hi
type aim struct {
	nanos     int64
	looks     int
	low, high int64 // times of the batches that enclose what is left
}

// next returns where to look in [lo, hi). A nil aim halves.
func (a *aim) next(lo, hi uint64) uint64 {
	half := lo + (hi-lo)/2
	if a == nil {
		return half
	}
	a.looks++
	switch {
	case a.looks == 1:
		return lo
	case a.looks == 2:
		return hi - 1
	case a.looks%3 == 2 || a.high <= a.low:
		return half
	}
	share := (float64(a.nanos) - float64(a.low)) / (float64(a.high) - float64(a.low))
	return lo + min(uint64(min(max(share, 0), 1)*float64(hi-lo)), hi-lo-1)
}

// below notes a batch that is too early.
func (a *aim) below(h header) {
	if a != nil {
		a.low = h.maxTime
	}
}

// above notes a batch that is late enough.
func (a *aim) above(h header) {
	if a != nil {
		a.high = h.maxTime
	}
}
