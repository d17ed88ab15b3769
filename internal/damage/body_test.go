package damage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
)

// body returns a payload that describes itself: the object that it belongs to,
// its number, and bytes that follow from both.
//
//	object # number # size # bytes
func body(object string, n, size int) []byte {
	b := fmt.Appendf(nil, "%s#%d#%d#", object, n, size)
	hash := fnv.New64a()
	_, _ = hash.Write(b)
	random := rand.New(rand.NewPCG(hash.Sum64(), 0))
	for range size / 8 {
		b = binary.BigEndian.AppendUint64(b, random.Uint64())
	}
	return b
}

// numberOf returns the number of an object's payload, or what is wrong with the
// payload. It makes the payload again and compares all bytes.
func numberOf(object string, b []byte) (string, error) {
	fields := bytes.SplitN(b, []byte("#"), 4)
	if len(fields) < 4 || string(fields[0]) != object {
		return "", fmt.Errorf("payload of %s begins with %.40q", object, b)
	}
	n, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return "", fmt.Errorf("payload of %s begins with %.40q", object, b)
	}
	size, err := strconv.Atoi(string(fields[2]))
	if err != nil || size > len(b) || !bytes.Equal(b, body(object, n, size)) {
		return "", fmt.Errorf("payload %d of %s has wrong bytes", n, object)
	}
	return strconv.Itoa(n), nil
}
