package store_test

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestTheKernelRefusesANilContextBeforeItCountsAnything(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	var none context.Context
	for name, call := range map[string]func() error{
		"Do":         func() error { return s.Do(none, set("k", "v"), store.Default) },
		"Go":         func() error { return s.Go(none, set("k", "v"), store.Default, func(error) { t.Error("called back") }) },
		"Fence":      func() error { return s.Fence(none) },
		"Iter":       func() error { _, err := s.Iter(none, nil, nil); return err },
		"Snapshot":   func() error { _, err := s.Snapshot(none); return err },
		"Begin":      func() error { _, err := s.Begin(none); return err },
		"BeginView":  func() error { _, err := s.BeginView(none); return err },
		"Sink":       func() error { _, _, err := s.Sink(none, store.ClassTopic, "t", "p"); return err },
		"Checkpoint": func() error { return s.Checkpoint(none, "copy") },
	} {
		err := call()
		require.ErrorIs(t, err, store.ErrInvalid, name)
		require.ErrorContains(t, err, "context is nil", name)
	}
	require.Empty(t, get(t, s, "k"))
	require.False(t, s.Synced(none, store.Default))
	require.NoError(t, s.Close())
}
