package admin

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
)

func TestOnlySoManyPagesAreLive(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	server := httptest.NewServer(Handler(db, nil))
	for range maxStreams { // each holds its place
		res, err := http.Get(server.URL + "/live")
		require.NoError(t, err)
		defer res.Body.Close()
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "retry")
	}
	res, err := http.Get(server.URL + "/live")
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NoError(t, res.Body.Close())
	server.CloseClientConnections()
	server.Close()
	require.NoError(t, db.Close())
}
