package log

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnOutageEndsWithAReadThatFindsNothing is about a member that tried again for ever, without a
// rest: nothing was left to read behind what was trimmed.
func TestAnOutageEndsWithAReadThatFindsNothing(t *testing.T) {
	o := owned{t: new(tenure)}
	o.see(ErrOffsetOutOfRange)
	require.False(t, o.next().IsZero(), "another try is due")
	require.NotNil(t, o.t.unread.Load())
	o.see(nil)
	require.True(t, o.next().IsZero())
	require.Nil(t, o.t.unread.Load())
}
