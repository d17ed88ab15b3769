package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestServeAnswersUntilItIsInterrupted(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := filepath.Join(t.TempDir(), "data")
	fill(t, dir)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	root := newRoot()
	root.SetArgs([]string{"serve", dir, "--addr", "localhost:0", "--json"})
	root.SetOut(in)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	var at serving
	require.NoError(t, json.NewDecoder(out).Decode(&at))

	for path, want := range map[string]string{"/health": "ok", "/topics": "orders", "/api/v1/topics": `"orders"`} {
		r, err := http.Get(at.URL + path)
		require.NoError(t, err)
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		assert.Equal(t, http.StatusOK, r.StatusCode, path)
		assert.Contains(t, string(text), want, path)
	}
	http.DefaultClient.CloseIdleConnections()
	interrupt()
	require.NoError(t, <-ended)
	pipe(t, nil, "info", dir) // it is closed
}
