package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBalancesAreRebuilt(t *testing.T) {
	out, err := exec.Command("go", "run", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "accounts, their sum         10,")
}
