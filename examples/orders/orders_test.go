package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheBooksBalance(t *testing.T) {
	out, err := exec.Command("go", "run", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "mails before, after        3500, 3500")
	require.Contains(t, string(out), "seen by audit              3500")
}
