package queue

import "time"

// Moment is a time as it is kept and stored: in nanoseconds since 1970, 0 for none.
type Moment int64

// At returns the moment of a time, of the zero one 0.
func At(t time.Time) Moment {
	if t.IsZero() {
		return 0
	}
	return Moment(t.UnixNano())
}

// Time returns the time of a moment, for 0 the zero one.
func (m Moment) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

// After reports whether the moment is later than a time; 0 is before all of them.
func (m Moment) After(t time.Time) bool { return int64(m) > t.UnixNano() }
