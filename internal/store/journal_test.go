package store

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/stretchr/testify/require"
)

// journalOf writes records as the engine writes a MANIFEST.
func journalOf(t *testing.T, records int, size func(i int) int) (file []byte, payloads [][]byte) {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for i := range records {
		p := bytes.Repeat(fmt.Appendf(nil, "%06d ", i), 1+size(i)/7)
		payloads = append(payloads, p)
		_, err := w.WriteRecord(p)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes(), payloads
}

func readBytes(t *testing.T, file []byte) (got [][]byte, lost []journalDamage) {
	t.Helper()
	j := journal{r: bytes.NewReader(file), size: int64(len(file)), read: unpaced, record: func(b []byte, _ int64) error {
		got = append(got, bytes.Clone(b))
		return nil
	}}
	require.NoError(t, j.run())
	return got, j.lost
}

func TestWholeJournalIsRead(t *testing.T) {
	for _, size := range []int{1, 100, 5000, 32755, 32761, 100000} {
		file, payloads := journalOf(t, 40, func(i int) int { return size + i })
		got, lost := readBytes(t, file)
		require.Equal(t, payloads, got)
		require.Empty(t, lost)
	}
}

// Wherever a byte is wrong, only records nearby are lost, and the report covers it.
func TestJournalIsReadBehindDamage(t *testing.T) {
	file, payloads := journalOf(t, 120, func(i int) int { return 40 + i%7*300 + i%41*1000 })
	for at := 1; at < len(file); at += 9973 {
		broken := bytes.Clone(file)
		broken[at] ^= 0x40
		got, lost := readBytes(t, broken)
		require.Len(t, lost, 1, "at %d", at)
		require.LessOrEqual(t, lost[0].offset, int64(at))
		require.Greater(t, lost[0].offset+lost[0].length, int64(at))
		require.LessOrEqual(t, lost[0].length, int64(3*journalBlock+41000))
		missing := 0
		for i := range payloads {
			if len(got) > i-missing && bytes.Equal(got[i-missing], payloads[i]) {
				continue
			}
			missing++
		}
		require.Len(t, got, len(payloads)-missing, "at %d: nothing is made up", at)
		require.Positive(t, missing)
		require.Less(t, missing, 100)
	}
}

func TestTornJournalSaysSo(t *testing.T) {
	file, payloads := journalOf(t, 50, func(int) int { return 3000 })
	for at := len(file) - 1; at > len(file)-9000; at -= 83 {
		got, lost := readBytes(t, file[:at])
		require.Equal(t, payloads[:len(got)], got)
		if len(lost) > 0 { // else the cut is between two records
			require.Len(t, lost, 1)
			require.True(t, lost[0].torn)
		}
		require.GreaterOrEqual(t, len(got), 46)
	}
}
