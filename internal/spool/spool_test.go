package spool

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/stretchr/testify/require"
)

var layout = Layout{store.KindWorkMessage, store.KindWorkMark, store.KindWorkDelay, store.KindWorkMeta}

type putOp struct {
	q    *Spool
	data []byte
	m    *Message
}

func (o *putOp) Run(t *store.Turn) error { o.m = o.q.Put(t, o.data); return nil }
func (o *putOp) Undo()                   { o.q.UndoPut(o.m) }
func (o *putOp) Visible(t *store.Turn)   { o.q.Show(t, o.m) }

type settleOp struct {
	q *Spool
	m *Message
}

func (o *settleOp) Run(t *store.Turn) error { o.q.Settle(t, o.m); return nil }
func (o *settleOp) Undo()                   { o.q.UndoSettle(o.m) }
func (o *settleOp) Visible(t *store.Turn)   { o.q.Settled(t, o.m) }

func TestFirstInFirstOutThroughTheWindowAndTheDisk(t *testing.T) {
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	defer s.Close()
	ready := make(chan struct{}, 1)
	q, err := Open(s, layout, 1, Options{Ready: func(*store.Turn) {
		select {
		case ready <- struct{}{}:
		default:
		}
	}})
	require.NoError(t, err)
	ctx := context.Background()
	const n = 3*windowMessages + 7
	for i := range n {
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: fmt.Appendf(nil, "m%d", i)}, store.NoSync))
	}
	for i := range n {
		var m *Message
		for m == nil {
			require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
				m = q.Take(t, time.Time{})
				return nil
			}), store.NoSync))
			if m == nil {
				<-ready
			}
		}
		require.Equal(t, fmt.Sprintf("m%d", i), string(m.Data))
		require.NoError(t, s.Do(ctx, &settleOp{q, m}, store.NoSync))
	}
	require.NoError(t, s.Do(ctx, store.OpFunc(func(*store.Turn) error {
		require.Equal(t, Stats{}, q.Stats())
		return nil
	}), store.NoSync))
}
