package visibility

import (
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/redrive"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

func init() { store.RegisterCheck(store.ClassVisQueue, checkQueue) }

// checkQueue is the store.Check of a queue. A hold may outlive the delayed message that
// it is about.
func checkQueue(a *store.Audit, o *store.Object) error {
	is, err := decodeConfig(o)
	if err != nil {
		a.Wrong(nil, "%v", err)
		return nil
	}
	c := is.Config
	err = redrive.Check(a, store.KindVisRedrive, o.ID)
	if err != nil {
		return err
	}
	err = a.WalkKind(store.KindVisHold, o.ID, func(key, v []byte) error {
		if _, err := decodeHold(v); err != nil {
			return a.Drop(key, "delay of group %q: %v", key[5:], err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = window.Examine(a, store.KindVisWindow, o.ID, c.DedupeWindow, func(answer []byte) error {
		_, err := decodeOriginal(answer)
		return err
	})
	if err != nil {
		return err
	}
	checked := queue.Checked{
		Layout: layout, Highest: c.MaxPriority, Born: sentAt, ID: idOf,
		Decode: func(data []byte) error {
			_, err := decodeMessage(data)
			return err
		},
	}
	if c.FIFO {
		checked.Group = groupOf
	}
	return queue.Check(a, o.ID, checked)
}
