package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob/memblob"
)

var errCut = errors.New("the line is cut")

// shelf is a bucket in memory. If cut is set, the step with that number and all later ones fail, as
// for a process that has died.
type shelf struct {
	objects map[string][]byte
	steps   int
	cut     int
}

func newShelf() *shelf { return &shelf{objects: make(map[string][]byte)} }

// copied is a bucket with the same objects, which fails from some step on.
func (s *shelf) copied(cut int) *shelf { return &shelf{objects: maps.Clone(s.objects), cut: cut} }

func (s *shelf) step() error {
	if s.steps++; s.cut > 0 && s.steps >= s.cut {
		return errCut
	}
	return nil
}

func (s *shelf) put(_ context.Context, key string, from io.Reader) error {
	if err := s.step(); err != nil {
		_, _ = io.CopyN(io.Discard, from, 10)
		return err
	}
	data, err := io.ReadAll(from)
	if err == nil {
		s.objects[key] = data
	}
	return err
}

func (s *shelf) get(_ context.Context, key string) (io.ReadCloser, error) {
	if err := s.step(); err != nil {
		return nil, err
	}
	data, ok := s.objects[key]
	if !ok {
		return nil, fmt.Errorf("no object %s", key)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (s *shelf) list(_ context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.step(); err != nil {
			yield("", err)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(s.objects)) {
			if strings.HasPrefix(key, prefix) && !yield(key, nil) {
				return
			}
		}
	}
}

func (s *shelf) remove(_ context.Context, key string) error {
	if err := s.step(); err != nil {
		return err
	}
	delete(s.objects, key)
	return nil
}

func TestAnObjectThatIsCutShortIsNotThere(t *testing.T) {
	b := memblob.OpenBucket(nil)
	defer b.Close()
	c := cloud{b}
	require.ErrorIs(t, c.put(t.Context(), "files/a", io.MultiReader(strings.NewReader("half"), broken{})), errCut)
	_, err := c.get(t.Context(), "files/a")
	require.Error(t, err)
	require.NoError(t, c.put(t.Context(), "files/a", strings.NewReader("whole")))
	require.NoError(t, c.put(t.Context(), "other/b", strings.NewReader("x")))
	for key, err := range c.list(t.Context(), "files/") {
		require.NoError(t, err)
		require.Equal(t, "files/a", key)
	}
	require.NoError(t, c.remove(t.Context(), "files/a"))
	_, err = c.get(t.Context(), "files/a")
	require.Error(t, err)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }
