package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		require.NoError(t, demonstrate(context.Background(), &out))
		require.Equal(t, `4 of 5 delivered
dead letter to bob: max receives of mail, 3 attempts, 550 no such mailbox
redrive completed: 1 moved
5 of 5 delivered, each once
`, out.String())
	})
}
