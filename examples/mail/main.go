// Mail sends e-mail from a queue. One message takes longer than its visibility timeout,
// which the heartbeats of Run extend; one fails each time, and is a dead letter after
// three attempts. When the reason is gone it is redriven, and everybody has his mail.
//
//	go run ./examples/mail
//
// The exit status is 0 only if each mail was delivered once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// timeout is short, so that a handler outlives it quickly.
const timeout = 100 * time.Millisecond

func main() {
	if err := demonstrate(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mail:", err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, out io.Writer) (err error) {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := openPostOffice(ctx, db)
	if err != nil {
		return err
	}
	people := []string{"ann", "bob", "carol", "dave", "erin"}
	for _, to := range people {
		m := visibility.Message{
			Body:       []byte("Dear " + to + ", the shop opens on Monday."),
			Attributes: map[string]visibility.Attribute{"to": visibility.StringAttribute(to)},
		}
		if _, err := p.queue.Send(ctx, m); err != nil {
			return err
		}
	}
	p.server.refuses("bob", errors.New("550 no such mailbox"))
	if err := p.send(ctx, func() bool { return p.server.delivered() == len(people)-1 && p.letters(ctx) == 1 }); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of %d delivered\n", p.server.delivered(), len(people))

	for m, err := range p.dead.Browse(ctx, nil) {
		if err != nil {
			return err
		}
		d := m.DeadLetter
		fmt.Fprintf(out, "dead letter to %s: %s of %s, %d attempts, %s\n",
			m.Attributes["to"].Value, d.Reason, d.Queue, d.ReceiveCount, d.LastError)
	}

	p.server.refuses("bob", nil)
	redrive, err := p.dead.Redrive(ctx, nil)
	if err != nil {
		return err
	}
	info, err := redrive.Wait(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "redrive %s: %d moved\n", info.State, info.Moved)
	if err := p.send(ctx, func() bool { return p.server.delivered() == len(people) }); err != nil {
		return err
	}
	return p.server.report(out, people)
}

// postOffice is the queue, its dead letters and the server that takes the mail.
type postOffice struct {
	queue, dead *visibility.Queue
	server      server
}

func openPostOffice(ctx context.Context, db *pebblemq.DB) (*postOffice, error) {
	dead, err := visibility.OpenQueue(ctx, db, "undeliverable", &visibility.QueueConfig{
		DeadLetterSources: []string{"mail"}, Retention: 14 * 24 * time.Hour,
	})
	if err != nil {
		return nil, err
	}
	queue, err := visibility.OpenQueue(ctx, db, "mail", &visibility.QueueConfig{
		VisibilityTimeout: timeout, DeadLetterQueue: "undeliverable", MaxReceives: 3,
	})
	return &postOffice{queue: queue, dead: dead}, err
}

// letters counts the dead letters.
func (p *postOffice) letters(ctx context.Context) uint64 {
	st, err := p.dead.Stats(ctx)
	if err != nil {
		return 0
	}
	return st.Visible
}

// send handles the mail until that is over.
func (p *postOffice) send(ctx context.Context, over func() bool) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- p.queue.Run(ctx, func(ctx context.Context, m *visibility.Received) error {
			to := string(m.Attributes["to"].Value)
			if to == "carol" { // has a slow server
				select {
				case <-time.After(3 * timeout):
				case <-ctx.Done(): // the message is not ours any more
					return context.Cause(ctx)
				}
			}
			return p.server.take(to)
		}, &visibility.RunOptions{Concurrency: 2})
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !over() {
		select {
		case <-tick.C:
		case err := <-done:
			return errors.Join(err, errors.New("not all mail was handled in time"))
		}
	}
	stop()
	return <-done
}

// server is where the mail goes. It is safe for concurrent use.
type server struct {
	mu struct {
		sync.Mutex
		refused map[string]error
		mails   []string // whom each was to
	}
}

// refuses has the server refuse mail to somebody, or with nil take it again.
func (s *server) refuses(to string, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.refused = map[string]error{to: reason}
}

func (s *server) take(to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mu.refused[to]; err != nil {
		return err
	}
	s.mu.mails = append(s.mu.mails, to)
	return nil
}

func (s *server) delivered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.mails)
}

// report says whether everybody has his mail, once.
func (s *server) report(out io.Writer, people []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := slices.Sorted(slices.Values(s.mu.mails))
	if !slices.Equal(got, people) {
		return fmt.Errorf("mail was delivered to %q", got)
	}
	fmt.Fprintf(out, "%d of %d delivered, each once\n", len(got), len(people))
	return nil
}
