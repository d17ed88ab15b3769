package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// build compiles the program once for the tests, which kill and restart it.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

func run(t *testing.T, program, input string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// table reads the rows of the report: a name of words, a number and what it means.
func table(out string) map[string]string {
	rows := make(map[string]string)
	for _, line := range strings.Split(out, "\n") {
		fields := strings.Fields(line)
		for i, f := range fields {
			if _, err := strconv.Atoi(f); err == nil {
				rows[strings.Join(fields[:i], " ")] = f
				break
			}
		}
	}
	return rows
}

func TestTheAccountsBalance(t *testing.T) {
	program := build(t)
	out, err := run(t, program, "")
	require.NoError(t, err, out)
	rows := table(out)
	for row, want := range map[string]string{
		"received": "67", "duplicate": "7", "distinct": "60", "processed once": "57",
		"dead-lettered": "3", "replayed": "60", "unaccounted": "0",
	} {
		require.Equal(t, want, rows[row], "%s in\n%s", row, out)
	}

	first, _, _ := strings.Cut(out, "\n")
	require.Contains(t, first, "67 webhooks")
	require.Contains(t, out, "Read on: README.md")
	require.NotContains(t, out, "\r", "a pipe gets whole lines")

	t.Run("events from standard input", func(t *testing.T) {
		line := `{"event":"issues","delivery":"d1","payload":{"action":"opened"}}` + "\n"
		out, err := run(t, program, line+line+strings.Replace(line, "d1", "d2", 1), "-stdin")
		require.NoError(t, err, out)
		rows := table(out)
		require.Equal(t, "3", rows["received"], out)
		require.Equal(t, "1", rows["duplicate"], out)
		require.Equal(t, "2", rows["notices"], out)
	})
	for name, input := range map[string]string{
		"no input": "", "no JSON": "{", "no delivery": `{"event":"push","payload":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, program, input, "-stdin")
			require.Error(t, err, out)
		})
	}
}

func TestServeShowsTheAdminPage(t *testing.T) {
	program := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-serve", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url := strings.Fields(line)[2]
	require.Eventually(t, func() bool {
		res, err := http.Get(url + "api/v1/topics")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(body), `"name":"events","partitions":4,"kept":60`)
	}, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}
