package pebblemq

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// DefaultVerifyRate is the rate of a Verify without one, 64 MiB per second.
const DefaultVerifyRate = 64 << 20

var _ = [1]struct{}{}[DefaultVerifyRate-store.DefaultVerifyRate] // the two are equal

// VerifyOptions configure Verify. Nil and the zero value are the defaults.
type VerifyOptions struct {
	// BytesPerSecond limits how fast Verify reads. 0 is DefaultVerifyRate, -1 is
	// Unlimited.
	BytesPerSecond int64

	// Progress, if set, is called before each read, on the goroutine of Verify. It must
	// not block.
	Progress func(VerifyProgress)
}

// VerifyProgress is how far a Verify has come.
type VerifyProgress struct {
	Files      int   // verified
	TotalFiles int   // that are to be verified; 0 until it is known
	Bytes      int64 // read, in files and in records
	TotalBytes int64 // of these files; the records of Objects are read on top
	Objects    int   // topics, groups, queues and so on that were verified
}

// VerifyReport is the result of a Verify.
type VerifyReport struct {
	Files   int   // verified
	Tables  int   // of these files
	Objects int   // verified: topics, groups, brokers, exchanges, queues, namespaces
	Bytes   int64 // read

	// Damages are the parts of files that cannot be read, or are wrong. At most 1000 are
	// listed, MoreDamages counts the others.
	Damages     []Damage
	MoreDamages int

	// Contradictions are records that do not agree with others, although each can be
	// read. At most 1000 are listed, MoreContradictions counts the others.
	Contradictions     []Contradiction
	MoreContradictions int

	// Unchecked are objects whose records were not compared with one another, each with
	// the reason: their files are damaged, or their package is not part of the program.
	Unchecked []string

	Took time.Duration

	err error
}

// Damage is a part of a file that cannot be read, or does not hold what it should.
type Damage struct {
	File   string // name in the directory of the store
	Part   string // of the file: "data block", "index", "footer", "record", "file"
	Offset int64
	Length int64

	// Holds describes the records that are out of reach because of the damage, as
	// `messages of queue "orders" of broker "shop"`. It lists what can be there, and is
	// empty if no records are out of reach.
	Holds []string

	// Low and High bound the keys that are out of reach, as docs/FORMAT.md lists them:
	// from Low to before High. Both are nil if none are; a nil High alone is the end of
	// the key space.
	Low, High []byte

	Err error // wraps ErrCorrupt

	text string
}

// String describes the damage in a line.
func (d Damage) String() string { return d.text }

// Contradiction is a record that does not agree with others.
type Contradiction struct {
	Object string // `queue "orders" of broker "shop"`; empty for a record of the store itself
	Key    []byte // as docs/FORMAT.md lists it
	Text   string // what is wrong
}

// String describes the contradiction in a line.
func (c Contradiction) String() string {
	if c.Object == "" {
		return c.Text
	}
	return c.Object + ": " + c.Text
}

// Err returns an error that wraps ErrCorrupt if anything is damaged or contradictory, and
// nil otherwise.
func (r *VerifyReport) Err() error { return r.err }

// Verify reads every file of the store and compares all checksums. It then checks that the
// records of each topic, queue and namespace agree with one another: counters with the
// messages, indexes with the records, offsets with the batches. The store goes on in the
// meantime. Verify costs the reads, at a limited rate, and little memory.
//
// Damage is listed in the report and is not an error. Verify returns an error only if it
// could not finish: ErrClosed, ErrFailed, ErrInvalid for a bad option, or the error of ctx,
// which ends it within one block. It reads the files directly, so that damage which it finds
// has no other effect. It does not compare the records of a package that is not part of the
// program.
//
// Every table is verified that is live when Verify comes to it. The newest write-ahead log
// and MANIFEST are verified up to where they are being written. The MANIFEST, its marker, the
// list of write-ahead logs and the file SYNCED are compared with what the store has written.
func (db *DB) Verify(ctx context.Context, o *VerifyOptions) (*VerifyReport, error) {
	var k store.VerifyOptions
	if o != nil {
		k.BytesPerSecond = o.BytesPerSecond
		if o.Progress != nil {
			k.Progress = func(p store.VerifyProgress) { o.Progress(VerifyProgress(p)) }
		}
	}
	found, err := db.s.Verify(ctx, k)
	if err != nil {
		return nil, err
	}
	return &VerifyReport{
		Files: found.Files, Tables: found.Tables, Objects: found.Objects, Bytes: found.Bytes,
		Damages: damagesOf(found.Damages), MoreDamages: found.MoreDamages,
		Contradictions: contradictionsOf(found.Contradictions), MoreContradictions: found.MoreContradictions,
		Unchecked: found.Unchecked, Took: found.Took, err: found.Err(),
	}, nil
}

func damagesOf(list []store.Damage) []Damage {
	out := make([]Damage, 0, len(list))
	for _, d := range list {
		out = append(out, Damage{
			File: d.File, Part: d.Part, Offset: d.Offset, Length: d.Length, Holds: d.Holds.Strings(),
			Low: d.Lo, High: d.Hi, Err: d.Err, text: d.String(),
		})
	}
	return out
}

func contradictionsOf(list []store.Contradiction) []Contradiction {
	out := make([]Contradiction, 0, len(list))
	for _, c := range list {
		out = append(out, Contradiction{Object: c.Object.Object(), Key: c.Key, Text: c.Text})
	}
	return out
}
