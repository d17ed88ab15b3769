package damage

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	plog "github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// reading is what was read of one object.
type reading struct {
	life   *life
	object string
	states map[string]string
	err    error // of any call
}

// read reads an object and compares it with the ledger. A missing item is lost
// unless a call has returned an error. An item that is there must be right in any
// case. With settle, items whose state was not certain get the state that was read.
func (l *life) read(object string, settle bool, f func(*reading)) {
	r := &reading{life: l, object: object, states: make(map[string]string)}
	f(r)
	missing, bad := l.ledger.compare(object, r.states)
	if r.err == nil {
		l.mismatches(lost, object, missing)
	}
	l.mismatches(wrong, object, bad)
	if settle && r.err == nil && len(missing)+len(bad) == 0 {
		l.must(l.ledger.settle(object, r.states))
	}
}

func (l *life) mismatches(kind reportKind, object string, list []mismatch) {
	for i, m := range list {
		if i == 3 {
			l.report(report{Kind: kind, What: object, Text: fmt.Sprintf("and %d more", len(list)-i)})
			return
		}
		l.report(report{Kind: kind, What: object + "/" + m.item, Text: fmt.Sprintf("read %q, possible is %s", m.read, m.want)})
	}
}

// do makes a call whose error excuses what is missing.
func (r *reading) do(what string, call func() error) bool {
	if err := r.life.do(what+" "+r.object, call); err != nil {
		r.err = err
		return false
	}
	return true
}

// fail reports an error of a call that may go on.
func (r *reading) fail(what string, err error) {
	r.err = err
	r.life.report(report{Kind: failed, What: what + " " + r.object, Text: err.Error(), Is: sentinels(err)})
}

func (r *reading) bad(kind reportKind, item, format string, args ...any) {
	r.life.report(report{Kind: kind, What: r.object + "/" + item, Text: fmt.Sprintf(format, args...)})
}

// saw notes the state of the item that a payload belongs to.
func (r *reading) saw(payload string, b []byte, state string) (item string, n int) {
	item, err := numberOf(payload, b)
	if err != nil {
		r.bad(wrong, "", "%v", err)
		return "", 0
	}
	if before, twice := r.states[item]; twice {
		r.bad(wrong, item, "read twice, as %q and as %q", before, state)
	}
	r.states[item] = state
	n, _ = strconv.Atoi(item)
	return item, n
}

// check reads everything through every layer.
func (l *life) check(settle bool) {
	l.read("keys", settle, (*reading).keys)
	if l.events != nil {
		l.read("events", settle, (*reading).events)
		l.repeats()
	}
	if l.billing != nil {
		l.read("billing", settle, (*reading).billing)
	}
	if l.state != nil {
		l.read("state", settle, (*reading).state)
	}
	if l.broker != nil {
		l.read("jobs", settle, func(r *reading) { r.browse("jobs", "jobs"); r.browse("dead", "jobs") })
		l.read("ranked", settle, func(r *reading) { r.browse("ranked", "ranked") })
		l.read("audit", settle, func(r *reading) { r.browse("audit", "all") })
		l.read("copies", settle, func(r *reading) { r.browse("copies", "all") })
		l.read("later", settle, func(r *reading) { r.browse("later", "later") })
	}
	if l.mail != nil {
		l.read("mail", settle, func(r *reading) { r.look(l.mail, "mail"); r.look(l.dead, "mail") })
	}
	if l.orders != nil {
		l.read("orders", settle, func(r *reading) { r.look(l.orders, "orders") })
	}
	if l.requests != nil {
		l.read("requests", settle, (*reading).requests)
	}
}

// keys scans the application's keys and gets some of them one by one.
func (r *reading) keys() {
	r.do("scan", func() error {
		return r.life.db.View(context.Background(), func(tx *pebblemq.Tx) error {
			for e, err := range tx.Scan(nil) {
				if err != nil {
					return err
				}
				n, err := numberOf("keys/"+string(e.Key), e.Value)
				if err != nil {
					r.bad(wrong, string(e.Key), "%v", err)
					continue
				}
				r.states[string(e.Key)] = n
			}
			return nil
		})
	})
	for i, key := range r.life.ledger.items("keys") {
		if i%4 == 0 {
			r.key(key)
		}
	}
}

func (r *reading) key(key string) {
	_ = r.do("get", func() error {
		return r.life.db.View(context.Background(), func(tx *pebblemq.Tx) error {
			v, err := tx.Get([]byte(key))
			if err == nil {
				r.life.sawKey(key, v)
			}
			return err
		})
	})
}

// records walks a partition as it is now.
func (r *reading) records(topic *plog.Topic, partition int, each func(plog.Record)) {
	r.do("read", func() error {
		reader, err := topic.NewReader(partition, plog.Start())
		if err != nil {
			return err
		}
		if err := reader.Until(plog.End()); err != nil {
			return err
		}
		for record, err := range reader.Records(context.Background()) {
			if err != nil {
				return err
			}
			each(record)
		}
		return nil
	})
}

func (r *reading) events() {
	for p := range partitions {
		last := -1
		r.records(r.life.events, p, func(record plog.Record) {
			item, n := r.saw("events", record.Value, place(plog.Position{Partition: p, Offset: record.Offset}))
			if item != "" && n < last {
				r.bad(order, item, "comes after %d in partition %d", last, p)
			}
			last = max(last, n)
		})
	}
}

// repeats makes the last appends of producers again: they are known.
func (l *life) repeats() {
	for i, item := range lastOf(l.ledger.items("producers"), 4) {
		state, ok := l.ledger.certain("producers", item)
		if ok && state != "" && (i == 0 || l.producer < 1 || item != fmt.Sprintf("p%d", l.names)) {
			f := strings.SplitN(state, ":", 3)
			number, _ := strconv.ParseInt(f[0], 10, 64)
			n, _ := strconv.Atoi(f[1])
			l.repeat("append once again", f[1], f[2], func(ctx context.Context) ([]plog.Position, error) {
				return l.appendAs(ctx, item, number, event(n))
			})
		}
	}
	for _, item := range lastOf(l.ledger.items("unique"), 4) {
		if state, ok := l.ledger.certain("unique", item); ok && state != "" {
			n, _ := strconv.Atoi(item)
			l.repeat("append unique again", item, state, func(ctx context.Context) ([]plog.Position, error) {
				return l.events.AppendWith(ctx, plog.AppendOptions{ID: "u" + item}, event(n))
			})
		}
	}
}

func lastOf(items []string, n int) []string { return items[max(0, len(items)-n):] }

func (l *life) repeat(what, item, want string, call func(context.Context) ([]plog.Position, error)) {
	var at []plog.Position
	err := l.do(what, func() (err error) {
		at, err = call(synced)
		return err
	})
	if err == nil && place(at[0]) != want {
		l.report(report{Kind: lost, What: "events/" + item, Text: fmt.Sprintf("was appended at %s, now again at %s", want, place(at[0]))})
	}
}

func (r *reading) billing() {
	r.do("committed", func() error {
		all, err := r.life.billing.Committed(context.Background())
		for _, c := range all {
			if c.Next > 0 {
				r.states[strconv.Itoa(c.Partition)] = strconv.FormatInt(c.Next, 10)
			}
		}
		return err
	})
}

// state reads the newest record of each key, from the topic and from its index.
func (r *reading) state() {
	r.records(r.life.state, 0, func(record plog.Record) {
		if s, err := stateOf(record); err != nil {
			r.bad(wrong, string(record.Key), "%v", err)
		} else {
			r.states[string(record.Key)] = s
		}
	})
	if r.err != nil { // the newest record of a key may be among those that cannot be read
		clear(r.states)
	}
	for _, key := range r.life.ledger.items("state") {
		r.latest(key)
	}
}

func stateOf(record plog.Record) (string, error) {
	if record.Value == nil && len(record.Headers) == 1 {
		return "-" + string(record.Headers[0].Value), nil
	}
	return numberOf("state", record.Value)
}

func (r *reading) latest(key string) {
	var record plog.Record
	var found bool
	state, bad := "", error(nil)
	ok := r.do("latest", func() (err error) {
		if record, found, err = r.life.state.Latest(context.Background(), []byte(key)); err == nil && found {
			state, bad = stateOf(record)
		}
		return err
	})
	if ok && (bad != nil || !r.life.ledger.allows("state", key, state)) {
		kind := wrong
		if state == "" && bad == nil {
			kind = lost
		}
		r.bad(kind, key, "the latest is %q, %v, possible are %q", state, bad, r.life.ledger.possible("state", key))
	}
}

// browse looks at the messages of a work queue. They come by priority, and in
// the order in which they were published unless they are dead letters.
func (r *reading) browse(queue, payload string) {
	r.life.report(report{Kind: at, What: "browse " + queue})
	last := make(map[uint8]int)
	lowest := uint8(priorities)
	for m, err := range r.life.queues[queue].Browse(context.Background(), nil) {
		if err != nil {
			r.fail("browse "+queue+" of", err)
			continue
		}
		item, n := r.saw(payload, m.Body, queue)
		if item == "" || queue == "dead" || m.State == workqueue.Delayed {
			continue
		}
		if n < last[m.Priority] || m.Priority > lowest {
			r.bad(order, item, "of priority %d comes after %d", m.Priority, last[m.Priority])
		}
		last[m.Priority], lowest = n, m.Priority
	}
}

// look is browse for a visibility queue.
func (r *reading) look(q *visibility.Queue, payload string) {
	r.life.report(report{Kind: at, What: "browse " + q.Name()})
	last := -1
	for m, err := range q.Browse(context.Background(), nil) {
		if err != nil {
			r.fail("browse "+q.Name()+" of", err)
			continue
		}
		item, n := r.saw(payload, m.Body, q.Name())
		if item == "" || q.Name() == "mail-dead" || m.State == visibility.Delayed {
			continue
		}
		if n < last {
			r.bad(order, item, "comes after %d", last)
		}
		last = n
	}
}

// requests lists the keys that have an outcome, and gets some one by one.
func (r *reading) requests() {
	r.do("list", func() error {
		for e, err := range r.life.requests.Entries(context.Background(), nil) {
			if err != nil {
				return err
			}
			if e.State == idempotency.Completed { // others have no outcome
				r.outcome(string(e.Key), e.Result)
			}
		}
		return nil
	})
	for i, item := range r.life.ledger.items("requests") {
		if i%4 == 0 {
			r.request(item)
		}
	}
}

func (r *reading) outcome(item string, result []byte) {
	n, err := numberOf("requests", result)
	if err != nil {
		r.bad(wrong, item, "%v", err)
		return
	}
	r.states[item] = n
}

func (r *reading) request(item string) {
	r.do("get", func() error {
		res, ok, err := r.life.requests.Find(context.Background(), []byte(item))
		switch {
		case err != nil:
			return err
		case ok:
			r.outcome(item, res.Value)
		case !r.life.ledger.allows("requests", item, ""):
			r.bad(lost, item, "has no outcome, possible are %q", r.life.ledger.possible("requests", item))
		}
		return nil
	})
}
