package admin

import (
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// isDamage reports whether something cannot be read, while the rest of the store can.
func isDamage(err error) bool {
	return errors.Is(err, pebblemq.ErrCorrupt) || errors.Is(err, pebblemq.ErrUnreadable)
}

// conflicts reports whether an error is about the state that an object is in.
func conflicts(err error) bool {
	for _, conflict := range []error{
		workqueue.ErrRedriveRunning, visibility.ErrRedriveRunning, workqueue.ErrInUse, workqueue.ErrUnroutable, log.ErrOffsetsExpired,
	} {
		if errors.Is(err, conflict) {
			return true
		}
	}
	return false
}
