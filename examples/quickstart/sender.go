package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// event is a webhook delivery as it is sent. Line numbers the request: the same
// delivery sent twice by GitHub is two requests, but one that is tried again
// because no answer came is one.
type event struct {
	Event    string          `json:"event"`
	Delivery string          `json:"delivery"`
	Payload  json.RawMessage `json:"payload"`
	Line     int             `json:"-"`
}

func readEvents(r io.Reader) ([]event, error) {
	var events []event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 32<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		e := event{Line: n}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if e.Event == "" || e.Delivery == "" || len(e.Payload) == 0 {
			return nil, fmt.Errorf("line %d: event, delivery and payload are required", n)
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return nil, errors.New("no events in the input")
	}
	return events, nil
}

// sender posts events, several at a time, as GitHub would.
type sender struct {
	url      string
	answered atomic.Int64
	limit    int64 // answers after which kill is called
	kill     func()
	once     sync.Once
	mu       sync.Mutex
	err      error // the last failure
}

const parallel = 8

func newSender(url string) *sender { return &sender{url: url, kill: func() {}} }

// killAfter kills the intake after n answers, while requests are under way.
func (s *sender) killAfter(n int, kill func()) { s.limit, s.kill = int64(n), kill }

// state returns a function that tells how many of the requests of a life are answered.
func (s *sender) state(life string, of int) func() string {
	return func() string { return fmt.Sprintf("%s: %d of %d requests answered", life, s.answered.Load(), of) }
}

// sendAll posts the events and returns those that got no answer.
func (s *sender) sendAll(ctx context.Context, events []event) []event {
	queue := make(chan event)
	lost := make(chan event, len(events))
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for e := range queue {
				if err := s.send(ctx, e); err != nil {
					s.note(err)
					lost <- e
				}
			}
		})
	}
	for _, e := range events {
		queue <- e
	}
	close(queue)
	wg.Wait()
	close(lost)
	var unanswered []event
	for e := range lost {
		unanswered = append(unanswered, e)
	}
	return unanswered
}

func (s *sender) send(ctx context.Context, e event) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/webhook", bytes.NewReader(e.Payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", e.Event)
	req.Header.Set("X-GitHub-Delivery", e.Delivery)
	req.Header.Set("Idempotency-Key", strconv.Itoa(e.Line))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("line %d: %s: %s", e.Line, res.Status, bytes.TrimSpace(body))
	}
	if s.answered.Add(1) == s.limit {
		s.once.Do(s.kill)
	}
	return nil
}

func (s *sender) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sender) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
