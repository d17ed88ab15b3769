package admin

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPayloadsAreShownByTheirContent(t *testing.T) {
	for text, want := range map[string]struct{ kind, pretty string }{
		`{"a":1}`:  {"JSON", "{\n  \"a\": 1\n}"},
		"hello":    {"text", "hello"},
		"\x00\xff": {"hex", "00000000  00 ff                                             |..|\n"},
	} {
		p := newPayload([]byte(text), previewBytes)
		require.Equal(t, want.kind, p.Kind())
		require.Equal(t, want.pretty, p.Pretty())
	}
	long := newPayload([]byte(strings.Repeat("ä", 100)), 101)
	require.True(t, long.Cut)
	require.Equal(t, strings.Repeat("ä", 50), long.Text)
	require.Equal(t, 200, long.Bytes)
	require.True(t, newPayload(nil, 1).None)
}
