package damage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// take makes a call that waits for messages of an object. It waits for ever,
// which the parent notices, unless the object's reader has told of damage: then
// what is left may be nothing but that.
func (l *life) take(object, what string, call func(context.Context) error) error {
	if !l.told[object] {
		err := l.do(what, func() error { return call(context.Background()) })
		if err != nil {
			l.told[object] = true
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var ended error
	err := l.do(what, func() error {
		err := call(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			ended, err = err, nil
		}
		return err
	})
	return errors.Join(ended, err)
}

// saw checks a message that was handed out: its bytes, and that it may be in a
// queue of the object.
func (l *life) saw(object, payload, queue string, b []byte) (item string, ok bool) {
	item, err := numberOf(payload, b)
	if err != nil {
		l.report(report{Kind: wrong, What: queue, Text: err.Error()})
		return "", false
	}
	if !l.ledger.allows(object, item, queue) {
		l.report(report{Kind: wrong, What: object + "/" + item,
			Text: fmt.Sprintf("delivered from %s, possible are %q", queue, l.ledger.possible(object, item))})
		return item, false
	}
	return item, true
}

func (l *life) publish(queue string, changes []change, exchange string, m workqueue.Message) {
	_ = l.act(l.durability(), "publish "+queue, changes, func(ctx context.Context) error {
		return l.broker.Publish(ctx, exchange, queue, m)
	})
}

func (l *life) publishJob() {
	n := l.number()
	l.publish("jobs", []change{{"jobs", strconv.Itoa(n), "jobs"}}, "", workqueue.Message{Body: body("jobs", n, sizeOf(n))})
}

// get takes a message with Get. That there is none is a loss if one must be
// there, unless the queue has told of damage.
func (l *life) get(object, payload, queue string) (d *workqueue.Delivery, item string) {
	var found bool
	err := l.take(queue, "get "+queue, func(ctx context.Context) (err error) {
		d, found, err = l.queues[queue].Get(ctx)
		return err
	})
	if err != nil {
		return nil, ""
	}
	if !found {
		for _, missing := range l.ledger.in(object, queue) {
			if !l.told[queue] && !l.fetched[object+"/"+missing] {
				l.report(report{Kind: lost, What: object + "/" + missing, Text: "Get finds nothing in " + queue})
				break
			}
		}
		return nil, ""
	}
	item, _ = l.saw(object, payload, queue, d.Body)
	return d, item
}

// takeJob acknowledges, rejects or returns a message, or holds it for a while.
func (l *life) takeJob() {
	if len(l.held) > 3 {
		d := l.held[0]
		l.held = l.held[1:]
		item, err := numberOf("jobs", d.Body)
		l.must(err)
		l.settle("ack", d, change{"jobs", item, ""}, d.Ack)
	}
	d, item := l.get("jobs", "jobs", "jobs")
	if item == "" {
		return
	}
	switch l.random.IntN(10) {
	case 0:
		l.settle("reject", d, change{"jobs", item, "dead"}, d.Reject)
	case 1:
		_ = l.do("nack jobs", func() error { return d.Nack(unsynced, true) })
	case 2, 3:
		l.held = append(l.held, d)
		l.fetched["jobs/"+item] = true
	default:
		l.settle("ack", d, change{"jobs", item, ""}, d.Ack)
	}
}

func (l *life) settle(verb string, d *workqueue.Delivery, c change, call func(context.Context) error) {
	_ = l.act(l.durability(), verb+" "+d.Queue, []change{c}, call)
}

func (l *life) publishRanked() {
	n := l.number()
	l.publish("ranked", []change{{"ranked", strconv.Itoa(n), "ranked"}}, "",
		workqueue.Message{Body: body("ranked", n, sizeOf(n)), Priority: uint8(n % priorities)})
}

// takeRanked takes up to three messages of a consumer and acknowledges them
// together, along with those of a call before in which a later one could not be read.
func (l *life) takeRanked() {
	if l.ranked == nil && l.do("consume ranked", func() (err error) {
		l.ranked, err = l.queues["ranked"].Consume(context.Background(), &workqueue.ConsumeOptions{Prefetch: 4})
		return err
	}) != nil {
		return
	}
	var last *workqueue.Delivery
	for range min(3, l.waiting("ranked")) {
		err := l.take("ranked", "next of ranked", func(ctx context.Context) (err error) {
			last, err = l.ranked.Next(ctx)
			return err
		})
		if err != nil || last == nil {
			return
		}
		if item, ok := l.saw("ranked", "ranked", "ranked", last.Body); ok {
			l.fetched["ranked/"+item] = true
			l.unranked = append(l.unranked, change{"ranked", item, ""})
		}
	}
	if last == nil || len(l.unranked) == 0 {
		return
	}
	if l.act(l.durability(), "ack ranked", l.unranked, last.AckUpTo) == nil {
		l.unranked = nil
	}
}

// waiting returns how many messages are certainly in a queue and not out.
func (l *life) waiting(queue string) (n int) {
	for _, item := range l.ledger.in(queue, queue) {
		if !l.fetched[queue+"/"+item] {
			n++
		}
	}
	return n
}

// publishAll sends one body to two queues, which share it if it is large.
func (l *life) publishAll() {
	n := l.number()
	id := strconv.Itoa(n)
	l.publish("", []change{{"audit", id, "audit"}, {"copies", id, "copies"}}, "all",
		workqueue.Message{Body: body("all", n, 400+2*sizeOf(n))})
}

func (l *life) takeCopy(queue string) {
	if d, item := l.get(queue, "all", queue); item != "" {
		l.settle("ack", d, change{queue, item, ""}, d.Ack)
	}
}

func (l *life) publishLater() {
	n := l.number()
	id := strconv.Itoa(n)
	l.publish("later", []change{{"later", id, "later"}}, "",
		workqueue.Message{Body: body("later", n, sizeOf(n)), Delay: farAway, MessageID: id, UniqueKey: id})
}

func (l *life) cancelLater() {
	if item, ok := l.anyOf(l.ledger.in("later", "later")); ok {
		_ = l.act(l.durability(), "cancel later", []change{{"later", item, ""}}, func(ctx context.Context) error {
			return l.queues["later"].Cancel(ctx, item)
		})
	}
}

// delayed mail is never due while the test runs.
func delayed(n int) bool { return n%8 == 0 }

func mailMessage(n int) visibility.Message {
	m := visibility.Message{
		ID: strconv.Itoa(n), Body: body("mail", n, sizeOf(n)),
		Attributes: map[string]visibility.Attribute{"n": visibility.NumberAttribute(strconv.Itoa(n))},
	}
	if delayed(n) {
		m.Delay = farAway
	}
	return m
}

func (l *life) sendMail() {
	n := l.number()
	_ = l.act(l.durability(), "send mail", []change{{"mail", strconv.Itoa(n), "mail"}}, func(ctx context.Context) error {
		_, err := l.mail.Send(ctx, mailMessage(n))
		return err
	})
}

func (l *life) cancelMail() {
	var later []string
	for _, item := range l.ledger.in("mail", "mail") {
		if n, err := strconv.Atoi(item); err == nil && delayed(n) {
			later = append(later, item)
		}
	}
	if item, ok := l.anyOf(later); ok {
		_ = l.act(l.durability(), "cancel mail", []change{{"mail", item, ""}}, func(ctx context.Context) error {
			return l.mail.Cancel(ctx, item)
		})
	}
}

// receive receives messages of a visibility queue.
func (l *life) receive(q *visibility.Queue, queue string, limit int) (got []*visibility.Received) {
	_ = l.take(queue, "receive "+queue, func(ctx context.Context) (err error) {
		got, err = q.Receive(ctx, &visibility.ReceiveOptions{Max: limit})
		return err
	})
	return got
}

// receiveMail deletes, releases or keeps what it receives. A message that was
// received may become a dead letter by one of the next receives.
func (l *life) receiveMail() {
	for _, m := range l.receive(l.mail, "mail", 3) {
		item, ok := l.saw("mail", "mail", "mail", m.Body)
		if !ok {
			continue
		}
		l.must(l.ledger.may(change{"mail", item, "mail-dead"}))
		switch l.random.IntN(8) {
		case 0, 1:
			_ = l.act(l.durability(), "release mail", nil, func(ctx context.Context) error {
				return l.mail.ChangeVisibility(ctx, m.Receipt, 0)
			})
		case 2, 3:
			l.leased = append(l.leased, m)
		default:
			l.deleteMail(m)
		}
	}
	if len(l.leased) > 6 {
		m := l.leased[0]
		l.leased = l.leased[1:]
		l.deleteMail(m)
	}
}

func (l *life) deleteMail(m *visibility.Received) {
	item, err := numberOf("mail", m.Body)
	l.must(err)
	_ = l.act(l.durability(), "delete mail", []change{{"mail", item, ""}}, func(ctx context.Context) error {
		return l.mail.Delete(ctx, m.Receipt)
	})
}

func groupOf(n int) string { return fmt.Sprintf("g%d", n%groups) }

// sendOrder sends every fourth message twice: its DedupeID is known.
func (l *life) sendOrder() {
	n := l.number()
	m := visibility.Message{Group: groupOf(n), DedupeID: strconv.Itoa(n), Body: body("orders", n, sizeOf(n))}
	c := []change{{"orders", strconv.Itoa(n), "orders"}}
	for range 1 + l.random.IntN(4)/3 {
		err := l.act(l.durability(), "send orders", c, func(ctx context.Context) error {
			_, err := l.orders.Send(ctx, m)
			return err
		})
		if err != nil {
			return
		}
	}
}

// receiveOrders takes the first messages of some groups.
func (l *life) receiveOrders() {
	got := l.receive(l.orders, "orders", 3)
	l.inOrder(got)
	for _, m := range got {
		if l.random.IntN(4) > 0 {
			l.deleteOrder(m)
			continue
		}
		_ = l.act(l.durability(), "release orders", nil, func(ctx context.Context) error {
			return l.orders.ChangeVisibility(ctx, m.Receipt, 0)
		})
	}
}

// inOrder checks that each message comes after all that are left of its group,
// unless the queue has told of damage. A receive may return several of a group.
func (l *life) inOrder(got []*visibility.Received) {
	before := make(map[string]bool)
	for _, m := range got {
		item, ok := l.saw("orders", "orders", "orders", m.Body)
		if !ok || l.told["orders"] {
			continue
		}
		n, err := strconv.Atoi(item)
		l.must(err)
		for _, other := range l.ledger.in("orders", "orders") {
			if o, _ := strconv.Atoi(other); o < n && groupOf(o) == m.Group && !before[other] {
				l.report(report{Kind: order, What: "orders/" + item, Text: other + " of its group was to come first"})
				break
			}
		}
		before[item] = true
	}
}

func (l *life) deleteOrder(m *visibility.Received) {
	item, err := numberOf("orders", m.Body)
	l.must(err)
	_ = l.act(l.durability(), "delete orders", []change{{"orders", item, ""}}, func(ctx context.Context) error {
		return l.orders.Delete(ctx, m.Receipt)
	})
}
