package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func options(t *testing.T) playOptions {
	return playOptions{t: t, hang: time.Minute, shrink: 30 * time.Second}
}

// TestScenarios plays what was found once. Those that name a fault must still fail in that way:
// a fault that is mended has to lose its name.
func TestScenarios(t *testing.T) {
	names, err := filepath.Glob("testdata/scenarios/*.sim")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".sim"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			s, err := parseFile(string(text))
			require.NoError(t, err)
			_, err = s.check(options(t))
			require.NoError(t, err)
		})
	}
}

// TestSeeds plays a few worlds that are the same each time.
func TestSeeds(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		r := swarm(seed, 200, options(t))
		if r.fault != "" {
			t.Fatalf("seed %d: %s\n%s", seed, r.fault, shrink(options(t), r))
		}
	}
}

// TestAStepReadsAsItIsWritten prints drawn steps and reads them again.
func TestAStepReadsAsItIsWritten(t *testing.T) {
	r := swarm(3, 300, options(t))
	text := r.scenario.String()
	again, err := parseFile(text)
	require.NoError(t, err)
	require.Equal(t, text, again.String())
	for i, s := range r.steps {
		require.Equal(t, s.verb.phrase, again.steps[i].verb.phrase, s)
	}
}

func TestAPhraseRefusesOtherWords(t *testing.T) {
	p := parsePhrase("send {n} to {queue} [group {group}] [now] [but fail]")
	for text, want := range map[string]args{
		"send 3 to q":             {"n": "3", "queue": "q"},
		"send 3 to q group a now": {"n": "3", "queue": "q", "group": "a", "now": "yes"},
		"send 3 to q now":         {"n": "3", "queue": "q", "now": "yes"},
		"send 3 to q but fail":    {"n": "3", "queue": "q", "fail": "yes"},
		"send 3 to":               nil,
		"send 3 to q group":       nil,
		"send 3 to q now and":     nil,
		"sent 3 to q":             nil,
	} {
		a, ok := p.match(strings.Fields(text))
		require.Equal(t, want != nil, ok, text)
		if ok {
			require.Equal(t, want, a, text)
			require.Equal(t, text, p.text(a))
		}
	}
}
