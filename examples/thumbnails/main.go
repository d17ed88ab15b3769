// Thumbnails makes small images of large ones in the background. The images are made
// on the fly; some of them are damaged, and are uploaded again later.
//
//	upload ──▶ jobs (previews before archive copies) ──▶ thumbnail in the store
//	            ▲ └─ after three attempts ─▶ dead letters ─┐
//	            └───── redrive, of what was repaired ──────┘
//
// An image and its job are one commit, and so are a thumbnail and the acknowledgement of
// the job: so each image gets exactly one, however often a job is delivered.
//
//	go run ./examples/thumbnails
//
// The exit status is 0 only if every image got its thumbnail.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

const (
	images   = 24
	damaged  = 5 // every fifth
	large    = 256
	small    = 32
	attempts = 3

	preview = 1 // the higher priority: somebody is waiting
)

func main() {
	if err := demonstrate(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "thumbnails:", err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, out io.Writer) (err error) {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	for i := range images {
		if err := s.upload(ctx, i); err != nil {
			return err
		}
	}
	bad := (images + damaged - 1) / damaged
	if err := s.work(ctx, images-bad, bad); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of %d images done, previews first: %t\n", len(s.order), images, s.previewsFirst())

	repaired, err := s.redrive(ctx, out)
	if err != nil {
		return err
	}
	if err := s.work(ctx, repaired, 0); err != nil {
		return err
	}
	n, err := s.thumbnails(ctx)
	fmt.Fprintf(out, "%d thumbnails of %d by %d\n", n, small, small)
	if err == nil && n != images {
		err = fmt.Errorf("%d of %d images have a thumbnail", n, images)
	}
	return err
}

// service is a store with two queues.
type service struct {
	db     *pebblemq.DB
	broker *workqueue.Broker
	jobs   *workqueue.Queue
	dead   *workqueue.Queue

	mu    sync.Mutex
	order []uint8 // priorities of the jobs that were done
}

func open(ctx context.Context) (*service, error) {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		return nil, err
	}
	s := &service{db: db}
	if s.broker, err = workqueue.OpenBroker(ctx, db, "media"); err == nil {
		s.dead, err = s.broker.DeclareQueue(ctx, "dead", nil)
	}
	if err == nil {
		s.jobs, err = s.broker.DeclareQueue(ctx, "jobs", &workqueue.QueueConfig{
			MaxPriority: preview, DeliveryLimit: attempts, DeadLetter: &workqueue.DeadLetter{Key: "dead"},
		})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// upload publishes a job. Every other one is for a preview.
func (s *service) upload(ctx context.Context, i int) error {
	picture, err := draw(i)
	if err != nil {
		return err
	}
	if i%damaged == 0 {
		picture = picture[:len(picture)/2] // the connection was lost
	}
	return s.db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Set(original(name(i)), picture); err != nil {
			return err
		}
		return s.broker.In(tx).Publish("", "jobs", workqueue.Message{MessageID: name(i), Priority: uint8(i%2) * preview})
	})
}

func name(i int) string { return fmt.Sprintf("image-%02d", i) }

func original(name string) []byte  { return []byte("original/" + name) }
func thumbnail(name string) []byte { return []byte("thumb/" + name) }

// draw makes an image that differs from the others.
func draw(i int) ([]byte, error) {
	m := image.NewRGBA(image.Rect(0, 0, large, large))
	for y := range large {
		for x := range large {
			m.Set(x, y, color.RGBA{uint8(x * (i + 1)), uint8(y), uint8(x ^ y), 255})
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, m)
	return b.Bytes(), err
}

// shrink makes the thumbnail.
func shrink(picture []byte) ([]byte, error) {
	m, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	thumb := image.NewRGBA(image.Rect(0, 0, small, small))
	for y := range small {
		for x := range small {
			thumb.Set(x, y, m.At(x*large/small, y*large/small))
		}
	}
	var b bytes.Buffer
	err = png.Encode(&b, thumb)
	return b.Bytes(), err
}

// work handles jobs until so many are done and so many have ended as dead letters.
// One worker, so that the order shows; more would be as right.
func (s *service) work(ctx context.Context, done, dead int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failures := 0
	soon := &workqueue.RunOptions{Backoff: pebblemq.Backoff{Min: 10 * time.Millisecond}}
	return s.jobs.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
		err := s.handle(ctx, d)
		if err == nil {
			done--
		} else if failures++; failures == dead*attempts {
			dead = 0
		}
		if done == 0 && dead == 0 {
			stop()
		}
		return err
	}, soon)
}

// handle stores a thumbnail and acknowledges its job in one commit.
func (s *service) handle(ctx context.Context, d *workqueue.Delivery) error {
	var picture []byte
	err := s.db.View(ctx, func(tx *pebblemq.Tx) (err error) {
		picture, err = tx.Get(original(d.MessageID))
		return err
	})
	if err != nil {
		return err
	}
	thumb, err := shrink(picture)
	if err != nil {
		return fmt.Errorf("%s: %w", d.MessageID, err)
	}
	err = s.db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Set(thumbnail(d.MessageID), thumb); err != nil {
			return err
		}
		return s.broker.In(tx).Ack(d)
	})
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.order = append(s.order, d.Priority)
	}
	return err
}

// previewsFirst reports whether all previews came before the archive.
func (s *service) previewsFirst() bool {
	return slices.IsSortedFunc(s.order, func(a, b uint8) int { return cmp.Compare(b, a) })
}

// redrive looks at the dead letters, has their images uploaded again and sends those
// back whose image is whole now.
func (s *service) redrive(ctx context.Context, out io.Writer) (repaired int, err error) {
	whole := make(map[string]bool)
	var report []string
	for m, err := range s.dead.Browse(ctx, nil) {
		if err != nil {
			return 0, err
		}
		death := m.Deaths[0]
		report = append(report, fmt.Sprintf("%s: %s in %s", m.MessageID, death.Reason, death.Queue))
		if err := s.repair(ctx, m.MessageID); err != nil {
			return 0, err
		}
		whole[m.MessageID] = true
	}
	slices.Sort(report) // they died in no order
	fmt.Fprintln(out, strings.Join(report, "\n"))
	redrive, err := s.dead.Redrive(ctx, &workqueue.RedriveOptions{
		Rate:   1000, // the others are not to wait long
		Filter: func(m *workqueue.Browsed) bool { return whole[m.MessageID] },
	})
	if err != nil {
		return 0, err
	}
	p, err := redrive.Wait(ctx)
	fmt.Fprintf(out, "%d went back to their queue, %d stay\n", p.Moved, p.Skipped+p.Failed)
	return int(p.Moved), err
}

// repair uploads an image again.
func (s *service) repair(ctx context.Context, name string) error {
	var i int
	if _, err := fmt.Sscanf(name, "image-%d", &i); err != nil {
		return err
	}
	picture, err := draw(i)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set(original(name), picture) })
}

// thumbnails counts those that are whole.
func (s *service) thumbnails(ctx context.Context) (n int, err error) {
	err = s.db.View(ctx, func(tx *pebblemq.Tx) error {
		for i := range images {
			thumb, err := tx.Get(thumbnail(name(i)))
			if err != nil {
				return err
			}
			m, err := png.DecodeConfig(bytes.NewReader(thumb))
			if err == nil && m.Width == small && m.Height == small {
				n++
			}
		}
		return nil
	})
	return n, err
}
