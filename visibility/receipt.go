package visibility

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
)

// Receipt stands for one delivery of one message of one queue. It is printable
// and can be stored or sent elsewhere; it survives a restart and cannot be
// guessed.
//
//	base64url of: version 1 B | queue id 4 B | priority 1 B | sequence 8 B | count 4 B | received 8 B | born 8 B | message 4 B | MAC 16 B
//
// The MAC is HMAC-SHA256, cut to 16 bytes, of all that comes before it, with a
// secret of the queue. So nothing needs to be stored for a receipt: that it is
// genuine is computed, and whether it is the latest is seen from the message's
// own count. A crash can take an unsynced count back; the time of the receive
// tells the two deliveries of the same number apart then, and a checksum of the
// message tells it from another that got the sequence number of a lost one. The
// birth tells, when the message is gone, whether its retention was over.
type Receipt string

const (
	receiptVersion = 1
	receiptBody    = 1 + 4 + 1 + 8 + 4 + 8 + 8 + 4
	receiptMAC     = 16
	receiptLen     = receiptBody + receiptMAC
	secretLen      = 32
)

var receiptText = base64.RawURLEncoding.Strict()

// delivery is what a receipt says.
type delivery struct {
	lane  byte
	seq   uint64
	count uint32
	since int64 // when it was received
	born  int64 // when the retention of the message began
	print uint32
}

func (d delivery) at() time.Time { return time.Unix(0, d.since) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fingerprint tells messages apart by the part that holds the time and the ID.
func fingerprint(data []byte) uint32 {
	return crc32.Checksum(data[:min(len(data), 64)], castagnoli)
}

// printOf is that of a message, whose data may not be in memory.
func printOf(m *queue.Message) uint32 {
	if m.Data == nil {
		return m.Print
	}
	return fingerprint(m.Data)
}

// sealer makes and checks the receipts of a queue. It is safe for concurrent
// use.
type sealer struct {
	queue uint32
	macs  sync.Pool // of hash.Hash, which are dear to make
}

func newSealer(queue uint32, secret []byte) *sealer {
	return &sealer{queue: queue, macs: sync.Pool{
		New: func() any { return hmac.New(sha256.New, secret) },
	}}
}

func (s *sealer) seal(d delivery) Receipt {
	var buf [receiptLen + sha256.Size - receiptMAC]byte
	b := append(buf[:0], receiptVersion)
	b = binary.BigEndian.AppendUint32(b, s.queue)
	b = append(b, d.lane)
	b = binary.BigEndian.AppendUint64(b, d.seq)
	b = binary.BigEndian.AppendUint32(b, d.count)
	b = binary.BigEndian.AppendUint64(b, uint64(d.since))
	b = binary.BigEndian.AppendUint64(b, uint64(d.born))
	b = binary.BigEndian.AppendUint32(b, d.print)
	b = s.mac(b, b)
	return Receipt(receiptText.EncodeToString(b[:receiptLen]))
}

// mac appends the MAC of body to dst.
func (s *sealer) mac(dst, body []byte) []byte {
	h := s.macs.Get().(hash.Hash)
	defer s.macs.Put(h)
	h.Reset()
	h.Write(body)
	return h.Sum(dst)
}

func (s *sealer) open(r Receipt) (delivery, error) {
	var buf, sum [receiptLen + sha256.Size]byte
	if len(r) != receiptText.EncodedLen(receiptLen) {
		return delivery{}, ErrInvalidReceipt
	}
	n, err := receiptText.Decode(buf[:], []byte(r))
	if err != nil || n != receiptLen || buf[0] != receiptVersion || binary.BigEndian.Uint32(buf[1:]) != s.queue {
		return delivery{}, ErrInvalidReceipt
	}
	body := buf[:receiptBody]
	if !hmac.Equal(s.mac(sum[:0], body)[:receiptMAC], buf[receiptBody:receiptLen]) {
		return delivery{}, ErrInvalidReceipt
	}
	return delivery{
		lane:  body[5],
		seq:   binary.BigEndian.Uint64(body[6:]),
		count: binary.BigEndian.Uint32(body[14:]),
		since: int64(binary.BigEndian.Uint64(body[18:])),
		born:  int64(binary.BigEndian.Uint64(body[26:])),
		print: binary.BigEndian.Uint32(body[34:]),
	}, nil
}
