package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheFirstProgramRunsTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, run(t.Context(), dir))
	require.NoError(t, run(t.Context(), dir))
}
