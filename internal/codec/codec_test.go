package codec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

type config struct {
	Size int `json:"size,omitempty"`
}

type state struct {
	Paused bool `json:"paused,omitempty"`
}

func TestWhatTheCatalogSaysIsReadBack(t *testing.T) {
	for text, s := range map[string]Stored[config, state]{
		`{"version":1,"created":7,"config":{}}`:                                             {Version: 1, Created: 7},
		`{"version":1,"created":7,"altered":8,"config":{"size":3},"state":{"paused":true}}`: {Version: 1, Created: 7, Altered: 8, Config: config{3}, State: state{true}},
	} {
		encoded, err := s.Encode()
		require.NoError(t, err)
		require.Equal(t, text, string(encoded))
		read, err := Decode[config, state](`queue "q"`, encoded)
		require.NoError(t, err)
		require.Equal(t, s, read)
	}
}

func TestAConfigurationThatIsNotOursIsRefused(t *testing.T) {
	for text, want := range map[string]error{
		``:                                   store.ErrCorrupt,
		`{"version":1`:                       store.ErrCorrupt,
		`[]`:                                 store.ErrCorrupt,
		`{}`:                                 store.ErrFormat,
		`{"version":2,"config":{}}`:          store.ErrFormat,
		`{"version":1,"config":{"new":1}}`:   store.ErrFormat,
		`{"version":1,"config":{"size":""}}`: store.ErrFormat,
	} {
		_, err := Decode[config, None](`queue "q"`, []byte(text))
		require.ErrorIs(t, err, want, text)
		require.ErrorContains(t, err, `configuration of queue "q"`, text)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"created":7,"config":{"size":3},"state":{"paused":true}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Decode[config, state]("object", text)
		if err != nil {
			return
		}
		encoded, err := s.Encode()
		require.NoError(t, err)
		again, err := Decode[config, state]("object", encoded)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

func TestCheckVersion(t *testing.T) {
	require.NoError(t, CheckVersion("mark", []byte{3, 0}, 3, 2))
	require.ErrorIs(t, CheckVersion("mark", nil, 3, 1), store.ErrCorrupt)
	require.ErrorIs(t, CheckVersion("mark", []byte{3}, 3, 2), store.ErrCorrupt)
	err := CheckVersion("mark", []byte{4}, 3, 2)
	require.ErrorIs(t, err, store.ErrFormat)
	require.ErrorContains(t, err, "mark has version 4")
}
