package damage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	plog "github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

const (
	manyKeys   = 300 // of the application
	stateKeys  = 40  // of the compacted topic
	partitions = 2   // of events
	groups     = 6   // of orders
	priorities = 4   // of ranked
	farAway    = 6 * time.Hour
)

// sizeOf returns the size of payload n: most are small, one in ten takes
// several blocks of a table.
func sizeOf(n int) int {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	if random.IntN(10) == 0 {
		return 1000 + random.IntN(9000)
	}
	return 50 + random.IntN(500)
}

// prepare opens the objects. One that cannot be opened stays nil, and the
// workload goes on without it.
func (l *life) prepare() {
	ctx := context.Background()
	l.names = l.ledger.next
	_ = l.do("open events", func() (err error) {
		l.events, err = plog.OpenTopic(ctx, l.db, "events", &plog.TopicConfig{Partitions: partitions, DedupeWindow: 24 * time.Hour})
		return err
	})
	_ = l.do("open state", func() (err error) {
		l.state, err = plog.OpenTopic(ctx, l.db, "state", &plog.TopicConfig{Compact: true, IndexKeys: true})
		return err
	})
	if l.events != nil {
		_ = l.do("open billing", func() (err error) {
			l.billing, err = l.events.OpenGroup(ctx, "billing", nil)
			return err
		})
	}
	l.openBroker(ctx)
	l.openVisibility()
	_ = l.do("open requests", func() (err error) {
		l.requests, err = idempotency.OpenNamespace(context.Background(), l.db, "requests", nil)
		return err
	})
}

func (l *life) openBroker(ctx context.Context) {
	var b *workqueue.Broker
	err := l.do("open broker", func() (err error) {
		b, err = workqueue.OpenBroker(ctx, l.db, "main")
		return err
	})
	if err != nil {
		return
	}
	for _, q := range []struct {
		name   string
		config workqueue.QueueConfig
	}{
		{"dead", workqueue.QueueConfig{}},
		{"jobs", workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}}},
		{"ranked", workqueue.QueueConfig{MaxPriority: priorities - 1}},
		{"audit", workqueue.QueueConfig{}},
		{"copies", workqueue.QueueConfig{}},
		{"later", workqueue.QueueConfig{}},
	} {
		q.config.DeliveryLimit = workqueue.NoDeliveryLimit
		err := l.do("declare "+q.name, func() (err error) {
			l.queues[q.name], err = b.DeclareQueue(ctx, q.name, &q.config)
			return err
		})
		if err != nil {
			return
		}
	}
	err = l.do("declare all", func() error {
		return errors.Join(b.DeclareExchange(ctx, "all", workqueue.Fanout, nil),
			b.Bind(ctx, workqueue.Binding{Exchange: "all", Queue: "audit"}),
			b.Bind(ctx, workqueue.Binding{Exchange: "all", Queue: "copies"}))
	})
	if err == nil {
		l.broker = b
	}
}

func (l *life) openVisibility() {
	_ = l.do("open mail-dead", func() (err error) {
		l.dead, err = visibility.OpenQueue(context.Background(), l.db, "mail-dead", nil)
		return err
	})
	if l.dead != nil {
		_ = l.do("open mail", func() (err error) {
			l.mail, err = visibility.OpenQueue(context.Background(), l.db, "mail", &visibility.QueueConfig{
				VisibilityTimeout: farAway, DeadLetterQueue: "mail-dead", MaxReceives: 3,
			})
			return err
		})
	}
	_ = l.do("open orders", func() (err error) {
		l.orders, err = visibility.OpenQueue(context.Background(), l.db, "orders",
			&visibility.QueueConfig{FIFO: true, VisibilityTimeout: farAway, ReleaseOnOpen: true})
		return err
	})
}

// work makes changes. It gives up when nothing succeeds any more.
func (l *life) work(steps int) {
	type step struct {
		weight int
		with   bool // its objects are open
		run    func()
	}
	all := []step{
		{30, true, l.setKeys},
		{4, true, l.deleteKey},
		{8, l.events != nil && l.broker != nil && l.requests != nil, l.transfer},
		{12, l.events != nil, l.appendEvents},
		{5, l.events != nil, l.appendOnce},
		{5, l.events != nil, l.appendUnique},
		{2, l.billing != nil, l.trimEvents},
		{5, l.billing != nil, l.commitBilling},
		{10, l.state != nil, l.appendState},
		{1, l.state != nil, l.compactState},
		{14, l.broker != nil, l.publishJob},
		{12, l.broker != nil, l.takeJob},
		{9, l.broker != nil, l.publishRanked},
		{3, l.broker != nil, l.takeRanked},
		{8, l.broker != nil, l.publishAll},
		{7, l.broker != nil, func() { l.takeCopy("audit") }},
		{6, l.broker != nil, func() { l.takeCopy("copies") }},
		{5, l.broker != nil, l.publishLater},
		{3, l.broker != nil, l.cancelLater},
		{12, l.mail != nil, l.sendMail},
		{6, l.mail != nil, l.receiveMail},
		{2, l.mail != nil, l.cancelMail},
		{12, l.orders != nil, l.sendOrder},
		{6, l.orders != nil, l.receiveOrders},
		{10, l.requests != nil, l.once},
		{4, l.requests != nil, l.lease},
		{2, l.requests != nil, l.forget},
	}
	total := 0
	for _, s := range all {
		total += s.weight
	}
	for range steps {
		if l.failures >= 40 {
			return
		}
		at := l.random.IntN(total)
		for _, s := range all {
			if at -= s.weight; at < 0 {
				if s.with {
					s.run()
				}
				break
			}
		}
	}
}

// number returns a number for a new item.
func (l *life) number() int {
	n, err := l.ledger.begin()
	l.must(err)
	return n
}

// anyOf picks one of several items; ok is false if there is none.
func (l *life) anyOf(items []string) (item string, ok bool) {
	if len(items) == 0 {
		return "", false
	}
	return items[l.random.IntN(len(items))], true
}

func (l *life) key() string { return fmt.Sprintf("k%03d", l.random.IntN(manyKeys)) }

func keyBody(key string, n int) []byte { return body("keys/"+key, n, sizeOf(n)) }

func (l *life) setKeys() {
	n := l.number()
	var changes []change
	for range 1 + l.random.IntN(3) {
		changes = append(changes, change{"keys", l.key(), strconv.Itoa(n)})
	}
	_ = l.act(l.durability(), "set keys", changes, func(ctx context.Context) error {
		return l.db.Update(ctx, func(tx *pebblemq.Tx) error {
			for _, c := range changes {
				if err := tx.Set([]byte(c.item), keyBody(c.item, n)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// deleteKey reads the key before, so that transactions meet damage as well.
func (l *life) deleteKey() {
	key := l.key()
	_ = l.act(l.durability(), "delete key", []change{{"keys", key, ""}}, func(ctx context.Context) error {
		return l.db.Update(ctx, func(tx *pebblemq.Tx) error {
			v, err := tx.Get([]byte(key))
			if err != nil {
				return err
			}
			l.sawKey(key, v)
			return tx.Delete([]byte(key))
		})
	})
}

// sawKey checks one value that was read.
func (l *life) sawKey(key string, v []byte) {
	state := ""
	if v != nil {
		n, err := numberOf("keys/"+key, v)
		if err != nil {
			l.report(report{Kind: wrong, What: "keys/" + key, Text: err.Error()})
			return
		}
		state = n
	}
	if !l.ledger.allows("keys", key, state) {
		l.report(report{Kind: wrong, What: "keys/" + key, Text: fmt.Sprintf("read %q, possible are %q", state, l.ledger.possible("keys", key))})
	}
}

// transfer is one transaction over all layers.
func (l *life) transfer() {
	n, key := l.number(), l.key()
	id := strconv.Itoa(n)
	changes := []change{{"keys", key, id}, {"jobs", id, "jobs"}, {"requests", id, id}, {"mail", id, "mail"}}
	if l.mail == nil {
		changes = changes[:3]
	}
	l.must(l.ledger.may(change{"events", id, anywhere}))
	var placed *plog.Placement
	ctx := l.durability()
	err := l.act(ctx, "update over all layers", changes, func(ctx context.Context) error {
		return l.db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
			if placed, err = l.events.In(tx).Append(event(n)); err != nil {
				return err
			}
			if l.mail != nil {
				if _, err = l.mail.In(tx).Send(mailMessage(n)); err != nil {
					return err
				}
			}
			return errors.Join(tx.Set([]byte(key), keyBody(key, n)),
				l.broker.In(tx).Publish("", "jobs", workqueue.Message{Body: body("jobs", n, sizeOf(n))}),
				l.requests.In(tx).Complete([]byte(id), body("requests", n, sizeOf(n))))
		})
	})
	if err != nil {
		return
	}
	at, err := placed.Positions()
	l.must(err)
	l.must(l.ledger.did(ctx == synced, change{"events", id, place(at[0])}))
}

func event(n int) plog.Record {
	return plog.Record{Key: fmt.Appendf(nil, "e%d", n%50), Value: body("events", n, sizeOf(n))}
}

func place(p plog.Position) string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// append makes an append whose places are known when it succeeds.
func (l *life) append(what string, numbers []int, call func(context.Context, []plog.Record) ([]plog.Position, error)) (at []plog.Position, ok bool) {
	var records []plog.Record
	var changes []change
	for _, n := range numbers {
		records = append(records, event(n))
		changes = append(changes, change{"events", strconv.Itoa(n), anywhere})
	}
	l.must(l.ledger.may(changes...))
	ctx := l.durability()
	err := l.act(ctx, what, nil, func(ctx context.Context) (err error) {
		at, err = call(ctx, records)
		return err
	})
	if err != nil {
		return nil, false
	}
	for i := range changes {
		changes[i].state = place(at[i])
	}
	l.must(l.ledger.did(ctx == synced, changes...))
	return at, true
}

func (l *life) appendEvents() {
	var numbers []int
	for range 1 + l.random.IntN(3) {
		numbers = append(numbers, l.number())
	}
	l.append("append events", numbers, func(ctx context.Context, records []plog.Record) ([]plog.Position, error) {
		return l.events.Append(ctx, records...)
	})
}

// appendOnce counts the records of a producer that is new in each life, and
// after each error: only then the next number is known.
func (l *life) appendOnce() {
	n := l.number()
	if l.producer < 0 {
		l.producer, l.names = 0, n
	}
	name := fmt.Sprintf("p%d", l.names)
	at, ok := l.append("append once", []int{n}, func(ctx context.Context, records []plog.Record) ([]plog.Position, error) {
		return l.appendAs(ctx, name, l.producer, records...)
	})
	if !ok {
		l.producer = -1
		return
	}
	l.must(l.ledger.did(false, change{"producers", name, fmt.Sprintf("%d:%d:%s", l.producer, n, place(at[0]))}))
	l.producer++
}

// appendAs takes a producer over and appends with it.
func (l *life) appendAs(ctx context.Context, name string, number int64, records ...plog.Record) ([]plog.Position, error) {
	p, err := l.events.OpenProducer(ctx, name)
	if err != nil {
		return nil, err
	}
	return l.events.AppendWith(ctx, plog.AppendOptions{Partition: plog.InPartition(1), Producer: p, Number: number}, records...)
}

func (l *life) appendUnique() {
	n := l.number()
	at, ok := l.append("append unique", []int{n}, func(ctx context.Context, records []plog.Record) ([]plog.Position, error) {
		return l.events.AppendWith(ctx, plog.AppendOptions{ID: fmt.Sprintf("u%d", n)}, records...)
	})
	if ok {
		l.must(l.ledger.did(false, change{"unique", strconv.Itoa(n), place(at[0])}))
	}
}

// trimEvents drops what billing has dealt with.
func (l *life) trimEvents() {
	p := strconv.Itoa(l.random.IntN(partitions))
	next, ok := l.ledger.certain("billing", p)
	if !ok || next == "" {
		return
	}
	start, err := strconv.ParseInt(next, 10, 64)
	l.must(err)
	var changes []change
	for _, item := range l.ledger.items("events") {
		at, known := l.ledger.certain("events", item)
		if at == "" || !known {
			continue
		}
		if q, offset := parsePlace(at); q == p && offset < start {
			changes = append(changes, change{"events", item, ""})
		}
	}
	partition, _ := strconv.Atoi(p)
	_ = l.act(l.durability(), "trim events", changes, func(ctx context.Context) error {
		return l.events.TrimTo(ctx, partition, plog.Offset(start))
	})
}

func parsePlace(s string) (partition string, offset int64) {
	var p int
	_, _ = fmt.Sscanf(s, "%d:%d", &p, &offset)
	return strconv.Itoa(p), offset
}

// commitBilling polls some records of the group and commits them.
func (l *life) commitBilling() { l.poll(8) }

func (l *life) poll(limit int) (got int) {
	ctx := context.Background()
	if l.member == nil && l.do("join billing", func() (err error) {
		l.member, err = l.billing.Join(ctx, nil)
		return err
	}) != nil {
		return 0
	}
	var waiting int64
	err := l.take("billing", "lag of billing", func(ctx context.Context) error {
		lags, err := l.billing.Lag(ctx)
		for _, lag := range lags {
			waiting += lag.Records
		}
		return err
	})
	if err != nil || waiting == 0 {
		return 0
	}
	var records []plog.Record
	err = l.take("billing", "poll billing", func(ctx context.Context) (err error) {
		records, err = l.member.Poll(ctx, limit)
		return err
	})
	if err != nil {
		return 0
	}
	next := make(map[string]string)
	for _, r := range records {
		next[strconv.Itoa(r.Partition)] = strconv.FormatInt(r.Offset+1, 10)
		n, err := numberOf("events", r.Value)
		if err != nil {
			l.report(report{Kind: wrong, What: "events", Text: err.Error()})
		} else if at := place(plog.Position{Partition: r.Partition, Offset: r.Offset}); !l.ledger.allows("events", n, at) {
			l.report(report{Kind: wrong, What: "events/" + n, Text: fmt.Sprintf("polled at %s, possible are %q", at, l.ledger.possible("events", n))})
		}
	}
	var changes []change
	for p, offset := range next {
		changes = append(changes, change{"billing", p, offset})
	}
	err = l.act(l.durability(), "commit billing", changes, func(ctx context.Context) error {
		return l.member.Commit(ctx, records...)
	})
	if err != nil {
		return 0
	}
	return len(records)
}

// appendState sets or deletes a key of the compacted topic.
func (l *life) appendState() {
	n := l.number()
	key := fmt.Sprintf("s%02d", l.random.IntN(stateKeys))
	c := change{"state", key, strconv.Itoa(n)}
	r := plog.Record{Key: []byte(key), Value: body("state", n, sizeOf(n))}
	if l.random.IntN(6) == 0 {
		c.state = "-" + c.state
		r.Value, r.Headers = nil, []plog.Header{{Name: "n", Value: []byte(strconv.Itoa(n))}}
	}
	_ = l.act(l.durability(), "append state", []change{c}, func(ctx context.Context) error {
		_, err := l.state.Append(ctx, r)
		return err
	})
}

func (l *life) compactState() {
	_ = l.do("compact state", func() error { return l.state.Compact(unsynced) })
}

func (l *life) once() {
	n := l.number()
	id := strconv.Itoa(n)
	_ = l.act(l.durability(), "once", []change{{"requests", id, id}}, func(ctx context.Context) error {
		_, err := l.requests.Once(ctx, []byte(id), func(*pebblemq.Tx) ([]byte, error) {
			return body("requests", n, sizeOf(n)), nil
		}, nil)
		return err
	})
	if item, ok := l.anyOf(l.ledger.items("requests")); ok {
		l.replay(item)
	}
}

// replay repeats a request that has an outcome: its handler must not run.
func (l *life) replay(item string) {
	state, ok := l.ledger.certain("requests", item)
	if !ok || state == "" {
		return
	}
	n, err := strconv.Atoi(item)
	l.must(err)
	ran := false
	var res idempotency.Result
	err = l.do("replay", func() (err error) {
		res, err = l.requests.Do(unsynced, []byte(item), func(context.Context, idempotency.Claim) ([]byte, error) {
			ran = true
			return body("requests", n, sizeOf(n)), nil
		}, nil)
		return err
	})
	if err != nil {
		return
	}
	if ran {
		l.report(report{Kind: lost, What: "requests/" + item, Text: "its handler ran again"})
	} else if got, err := numberOf("requests", res.Value); err != nil || got != item {
		l.report(report{Kind: wrong, What: "requests/" + item, Text: fmt.Sprintf("result of %q, %v", got, err)})
	}
}

func (l *life) lease() {
	n := l.number()
	id := strconv.Itoa(n)
	_ = l.act(l.durability(), "do", []change{{"requests", id, id}}, func(ctx context.Context) error {
		_, err := l.requests.Do(ctx, []byte(id), func(context.Context, idempotency.Claim) ([]byte, error) {
			return body("requests", n, sizeOf(n)), nil
		}, nil)
		return err
	})
}

// unfinished is a key whose handler never ends, so its record on disk is no outcome.
const unfinished = "unfinished"

// hang begins the handler of a key that does not end before the store does. It returns
// what ends it, unless the process is to be killed.
func (l *life) hang() (end func()) {
	if l.requests == nil {
		return func() {}
	}
	began, over, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = l.requests.Do(context.Background(), []byte(unfinished), func(context.Context, idempotency.Claim) ([]byte, error) {
			close(began)
			<-over
			return nil, errors.New("unfinished")
		}, nil)
	}()
	select {
	case <-began:
	case <-ended: // what is damaged is reported by other calls
	}
	return func() {
		if !l.Kill {
			close(over)
			<-ended
		}
	}
}

func (l *life) forget() {
	item, ok := l.anyOf(l.ledger.items("requests"))
	if state, known := l.ledger.certain("requests", item); ok && known && state != "" {
		_ = l.act(l.durability(), "forget", []change{{"requests", item, ""}}, func(ctx context.Context) error {
			return l.requests.Forget(ctx, []byte(item))
		})
	}
}
