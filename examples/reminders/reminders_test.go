package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReminders(t *testing.T) {
	var out strings.Builder
	require.NoError(t, demonstrate(context.Background(), t.TempDir(), &out))
	require.Regexp(t, `^to come: \["call Ann" "buy milk" "water the plants" "pay the rent"\]
first life: \["call Ann" "buy milk"\], some summaries
second life: \["water the plants"\], [12] summary for eight days
third life: \["pay the rent"\]
$`, out.String()) // a slow machine is in the next day already
}
