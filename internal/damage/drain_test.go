package damage

import (
	"context"
	"strconv"
	"strings"

	"github.com/pebblemq/pebblemq/visibility"
)

// drain receives everything that is left, as consumers do, and settles it: all
// messages that are certainly in a queue must come, in their order. After a crash
// a work queue first hands out what may have been out.
func (l *life) drain() {
	for _, d := range l.held {
		_ = l.do("return jobs", func() error { return d.Release(synced, 0) })
	}
	l.held, l.fetched = nil, make(map[string]bool)
	if l.broker != nil {
		l.empty("jobs", "jobs", "jobs")
		l.empty("jobs", "jobs", "dead")
		l.empty("audit", "all", "audit")
		l.empty("copies", "all", "copies")
		l.emptyRanked()
		for _, item := range l.ledger.in("later", "later") {
			_ = l.act(unsynced, "cancel later", []change{{"later", item, ""}}, func(ctx context.Context) error {
				return l.queues["later"].Cancel(ctx, item)
			})
		}
	}
	if l.mail != nil {
		l.emptyMail()
	}
	if l.orders != nil {
		l.emptyOrders()
	}
	if l.billing != nil {
		for l.poll(100) > 0 {
		}
	}
}

// empty gets all messages of a work queue. Get itself reports what is missing
// at the end.
func (l *life) empty(object, payload, queue string) {
	last := -1
	for {
		d, item := l.get(object, payload, queue)
		if item == "" {
			return
		}
		if n, _ := strconv.Atoi(item); queue != "dead" {
			if n < last && l.clean {
				l.report(report{Kind: order, What: object + "/" + item, Text: "delivered after " + strconv.Itoa(last)})
			}
			last = n
		}
		if l.act(unsynced, "ack "+queue, []change{{object, item, ""}}, d.Ack) != nil {
			return
		}
	}
}

// emptyRanked gets all messages of the queue with priorities.
func (l *life) emptyRanked() {
	if l.ranked != nil && l.do("close the consumer", l.ranked.Close) != nil {
		return
	}
	last, lowest := make(map[int]int), priorities
	for {
		d, item := l.get("ranked", "ranked", "ranked")
		if item == "" {
			return
		}
		n, _ := strconv.Atoi(item)
		p := n % priorities
		if l.clean && (n < last[p] || p > lowest) {
			l.report(report{Kind: order, What: "ranked/" + item, Text: "delivered after " + strconv.Itoa(last[p]) + " or one of a lower priority"})
		}
		last[p], lowest = n, p
		if l.act(unsynced, "ack ranked", []change{{"ranked", item, ""}}, d.Ack) != nil {
			return
		}
	}
}

// emptyMail receives all mail that is visible. Mail in flight, delayed mail and dead
// letters stay; Browse must show them.
func (l *life) emptyMail() {
	for {
		got := l.receive(l.mail, "mail", 10)
		for _, m := range got {
			if _, ok := l.saw("mail", "mail", "mail", m.Body); ok {
				l.must(l.ledger.may(change{"mail", m.ID, "mail-dead"}))
				l.deleteMail(m)
			}
		}
		if len(got) == 0 {
			break
		}
	}
	l.read("mail", false, func(r *reading) {
		r.look(l.mail, "mail")
		r.look(l.dead, "mail")
		if !l.told["mail"] {
			r.visible(l.mail)
		}
	})
}

// visible reports messages that can be received and were not.
func (r *reading) visible(q *visibility.Queue) {
	var left []string
	for m, err := range q.Browse(context.Background(), &visibility.BrowseOptions{State: visibility.Visible}) {
		if err == nil {
			left = append(left, m.ID)
		}
	}
	if len(left) > 0 {
		r.bad(lost, left[0], "Receive does not return %d visible messages: %s", len(left), strings.Join(left, " "))
	}
}

// emptyOrders receives everything, and deletes it group by group.
func (l *life) emptyOrders() {
	for {
		got := l.receive(l.orders, "orders", 10)
		l.inOrder(got)
		for _, m := range got {
			l.deleteOrder(m)
		}
		if len(got) == 0 {
			break
		}
	}
	if left := l.ledger.in("orders", "orders"); len(left) > 0 && !l.told["orders"] {
		l.report(report{Kind: lost, What: "orders/" + left[0], Text: "Receive does not return " + strings.Join(left, " ")})
	}
}
