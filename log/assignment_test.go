package log

// Assignment returns the epoch that a Member received the record under, and the
// offset that it began at.
func (r *Record) Assignment() (epoch uint64, from int64) {
	return r.tenure.epoch, int64(r.tenure.from.next)
}
