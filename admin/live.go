package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pebblemq/pebblemq"
)

const (
	maxStreams  = 32 // of one handler
	liveEvery   = 2 * time.Second
	liveFor     = 20 * time.Second // then the browser connects again, so that Shutdown of a server need not wait
	liveTimeout = 5 * time.Second  // of one write to a slow reader
)

// serveLive tells a page by server-sent events that the store has changed. The script then loads the
// page again and replaces the parts that are marked as live.
func (s storeSection) serveLive(w http.ResponseWriter, r *http.Request, _ struct{}) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return refusal{http.StatusServiceUnavailable, fmt.Sprintf("%d pages are live already, which is the limit", maxStreams)}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	end := time.NewTimer(liveFor)
	defer end.Stop()
	seen := s.db.Stats().Operations
	for text := "retry: 500\n\n"; ; {
		_ = controller.SetWriteDeadline(time.Now().Add(liveTimeout)) // a writer without deadlines is a buffer
		if _, err := fmt.Fprint(w, text); err != nil {
			return nil
		}
		if err := controller.Flush(); err != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-r.Context().Done():
			return nil
		}
		if errors.Is(s.db.Err(), pebblemq.ErrClosed) {
			return nil
		}
		now := s.db.Stats().Operations
		text = ": nothing\n\n"
		if now != seen {
			text = fmt.Sprintf("event: changed\ndata: %d\n\n", now)
		}
		seen = now
	}
}
