package workqueue

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/redrive"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

func init() {
	store.RegisterCheck(store.ClassBroker, checkBroker)
	store.RegisterCheck(store.ClassExchange, checkExchange)
	store.RegisterCheck(store.ClassQueue, checkQueue)
}

// checkBroker is the store.Check of a broker: bindings lead from and to what there is,
// and jobs can be decoded. A binding to a topic or visibility queue that was deleted
// while the broker was not open is fine, because opening the broker drops it.
func checkBroker(a *store.Audit, o *store.Object) error {
	if _, err := decodeBroker(o); err != nil {
		a.Wrong(nil, "%v", err)
	}
	err := a.WalkKind(store.KindWorkBinding, o.ID, func(key, v []byte) error {
		b, made, err := decodeBinding(key, v)
		if err != nil {
			return a.Drop(key, "%v", err)
		}
		from, known := a.Lookup(store.ClassExchange, scope(o.ID)+b.exchange)
		if !known {
			return a.Drop(key, "binding of exchange %q, which does not exist, to %v", b.exchange, b.to)
		}
		if e, err := decodeExchange(from); err == nil && e.check(b) != nil {
			return a.Drop(key, "%v", e.check(b))
		}
		if places[b.to.class].pkg != "" {
			return nil
		}
		if to, known := a.Lookup(b.to.class, scope(o.ID)+b.to.name); !known || to.ID != made.id {
			return a.Drop(key, "binding of exchange %q to %v, which does not exist", b.exchange, b.to)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.WalkKind(store.KindWorkJob, o.ID, func(key, v []byte) error {
		_, text, err := decodeJob(v)
		if err == nil {
			var j Job
			if j, err = decodeJobText(text); err == nil && j.Name != string(key[5:]) {
				err = fmt.Errorf("it is on record as %q", j.Name)
			}
		}
		if err != nil {
			return a.Drop(key, "job %q: %v", key[5:], err)
		}
		return nil
	})
}

// checkExchange is the store.Check of an exchange.
func checkExchange(a *store.Audit, o *store.Object) error {
	e, err := decodeExchange(o)
	if err != nil {
		a.Wrong(nil, "%v", err)
		return nil
	}
	return window.Examine(a, store.KindWorkWindow, o.ID, e.config.DedupeWindow, func(answer []byte) error {
		if _, n := binary.Uvarint(answer); n != len(answer) || n == 0 {
			return fmt.Errorf("answer %x", answer)
		}
		return nil
	})
}

// checkQueue is the store.Check of a queue.
func checkQueue(a *store.Audit, o *store.Object) error {
	is, err := decodeQueue(o)
	if err != nil {
		a.Wrong(nil, "%v", err)
		return nil
	}
	err = window.Examine(a, store.KindWorkWindow, o.ID, is.Config.DedupeWindow, func(answer []byte) error {
		if len(answer) > 0 {
			return fmt.Errorf("answer %x", answer)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := redrive.Check(a, store.KindWorkRedrive, o.ID); err != nil {
		return err
	}
	return queue.Check(a, o.ID, queue.Checked{
		Layout: layout, Highest: is.Config.MaxPriority, ID: messageIDOf,
		Decode: func(data []byte) error {
			_, err := decodeMessage(data)
			return err
		},
	})
}
