package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPayments(t *testing.T) {
	var out strings.Builder
	require.NoError(t, demonstrate(context.Background(), &out))
	require.Equal(t, `naive          10 orders of 7, each delivered twice: charged 140
leased         10 orders of 7, each delivered twice: charged 70
transactional  10 orders of 7, each delivered twice: charged 70
`, out.String())
}
