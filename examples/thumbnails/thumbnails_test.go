package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThumbnails(t *testing.T) {
	var out strings.Builder
	require.NoError(t, demonstrate(context.Background(), &out))
	require.Equal(t, `19 of 24 images done, previews first: true
image-00: delivery_limit in jobs
image-05: delivery_limit in jobs
image-10: delivery_limit in jobs
image-15: delivery_limit in jobs
image-20: delivery_limit in jobs
5 went back to their queue, 0 stay
24 thumbnails of 32 by 32
`, out.String())
}
