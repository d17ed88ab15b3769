package object_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

type place struct{ Exchange, Key string }

type limits struct {
	MaxLength int
	Priority  uint8 `alter:"grow"`
}

type config struct {
	Partitions int `alter:"grow"`
	Window     time.Duration
	Name       string `alter:"no"`
	Dead       *place
	Sources    []string
	Cache      int `json:"-"`
	limits
}

func TestCompareNamesEveryFieldThatDiffers(t *testing.T) {
	same := config{Partitions: 4, Dead: &place{"x", ""}, Sources: []string{"a"}}
	other := same
	other.Dead, other.Sources, other.Cache = &place{"x", ""}, []string{"a"}, 7
	require.Empty(t, object.Compare(same, other))
	require.NoError(t, object.Compare(same, other).Mismatch(`queue "q"`, "EnsureQueue"))

	stored := config{Partitions: 4, Window: time.Minute, Name: "a", limits: limits{MaxLength: 3}}
	given := config{Partitions: 8, Name: "b", Dead: &place{"x", "k"}}
	d := object.Compare(stored, given)
	require.Equal(t, []string{"Partitions", "Window", "Name", "Dead", "MaxLength"}, d.Fields())
	err := d.Mismatch(`queue "q"`, "EnsureQueue")
	require.ErrorIs(t, err, store.ErrConfigMismatch)
	require.EqualError(t, err, `pebblemq: object exists with another configuration: queue "q" has Partitions 4, not 8; Window 1m0s, not 0s; `+
		`Name "a", not "b"; Dead none, not {Exchange:x Key:k}; MaxLength 3, not 0; EnsureQueue alters it`)
}

func TestAFieldIsAlteredAsItsTagSays(t *testing.T) {
	stored := config{Partitions: 4, Name: "a", limits: limits{Priority: 2}}
	for name, c := range map[string]struct {
		change  func(*config)
		refused string
	}{
		"anything":     {func(c *config) { c.Window, c.Dead, c.MaxLength = 1, &place{}, 9 }, ""},
		"grows":        {func(c *config) { c.Partitions, c.Priority = 5, 3 }, ""},
		"shrinks":      {func(c *config) { c.Partitions = 3 }, "Partitions 4, not 3"},
		"fewer":        {func(c *config) { c.Priority = 1 }, "Priority 2, not 1"},
		"not at all":   {func(c *config) { c.Name = "b" }, `Name "a", not "b"`},
		"some of them": {func(c *config) { c.Name, c.Window = "b", 1 }, `queue "q" has Name "a", not "b", which`},
	} {
		given := stored
		c.change(&given)
		err := object.Compare(stored, given).Alterable(`queue "q"`)
		if c.refused == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, store.ErrConfigMismatch, name)
		require.ErrorContains(t, err, c.refused, name)
	}
}
