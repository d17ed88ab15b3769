package idemhttp

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errMissing = errors.New("the Idempotency-Key header is missing or empty")
	errInvalid = errors.New("the Idempotency-Key header is not valid")
)

// parseKey reads the header: a string of RFC 8941, in quotes. Many clients leave
// the quotes away, and are understood: "x" and x are the same key.
func parseKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", errMissing
	}
	if len(values) > 1 {
		return "", fmt.Errorf("%w: it is there %d times", errInvalid, len(values))
	}
	key, err := unquote(strings.Trim(values[0], " \t"))
	switch {
	case err != nil:
		return "", err
	case key == "":
		return "", errMissing
	case len(key) > MaxKeyBytes:
		return "", fmt.Errorf("%w: it has %d bytes, limit %d", errInvalid, len(key), MaxKeyBytes)
	}
	return key, nil
}

func unquote(s string) (string, error) {
	quoted := strings.HasPrefix(s, `"`)
	if quoted {
		if len(s) < 2 || s[len(s)-1] != '"' {
			return "", fmt.Errorf("%w: a quote is missing", errInvalid)
		}
		s = s[1 : len(s)-1]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < 0x20 || c > 0x7e:
			return "", fmt.Errorf("%w: it is not plain ASCII", errInvalid)
		case quoted && c == '"':
			return "", fmt.Errorf("%w: text after the closing quote", errInvalid)
		case quoted && c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", fmt.Errorf("%w: a backslash before nothing that needs one", errInvalid)
			}
			c = s[i]
		case !quoted && (c == '"' || c == ',' || c == ';' || c == ' '):
			return "", fmt.Errorf("%w: %q needs quotes around the key", errInvalid, c)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}
