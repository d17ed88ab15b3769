package pebblemq_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
)

type order struct {
	ID    string  `json:"id"`
	Total float64 `json:"total"`
}

func TestJSONEncodesAndDecodes(t *testing.T) {
	c := pebblemq.JSON[order]()
	b, err := c.Encode(order{"42", 3.5})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"42","total":3.5}`, string(b))
	o, err := c.Decode([]byte(`{"id":"42","total":3.5,"new":1}`))
	require.NoError(t, err)
	require.Equal(t, order{"42", 3.5}, o)
	require.Equal(t, "application/json", c.(interface{ ContentType() string }).ContentType())

	_, err = c.Encode(order{Total: math.Inf(1)})
	require.Error(t, err)
	for _, bad := range []string{"", "{", `{"id":1}`, `{} {}`} {
		_, err = c.Decode([]byte(bad))
		require.Error(t, err, bad)
	}
	p, err := pebblemq.JSON[*order]().Decode([]byte("null"))
	require.NoError(t, err)
	require.Nil(t, p)
}

func TestACodecErrorNamesTheMessageAndUnwraps(t *testing.T) {
	_, cause := pebblemq.JSON[order]().Decode([]byte("{"))
	err := error(&pebblemq.CodecError{Verb: "decode", What: `message "a" of queue "orders"`, Err: cause})
	require.Equal(t, `pebblemq: cannot decode message "a" of queue "orders": unexpected end of JSON input`, err.Error())
	var syntax *json.SyntaxError
	require.True(t, errors.As(err, &syntax))
}
