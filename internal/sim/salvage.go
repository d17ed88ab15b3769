package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
)

// rescue is a copy of the disk in a directory of the machine, where Salvage reads it.
type rescue struct {
	c        *copied
	src, dst string
}

func (d *disk) salvageVerbs() []*verb {
	return []*verb{
		{phrase: parsePhrase("copy the disk and salvage it"), weight: 1, alone: true, draw: d.drawCopy, do: func(*client, args) {
			d.keep(&copied{files: d.clone(), salvaged: true})
		}},
		{phrase: parsePhrase("copy the disk with bit {bit} at {place} of {sort} wrong and salvage it"), weight: 2, alone: true, draw: d.drawSalvage, do: func(_ *client, a args) {
			d.keep(&copied{files: d.clone(), salvaged: true, flip: &flip{sort: a["sort"], place: a.int("place"), bit: a.int("bit")}})
		}},
	}
}

func (d *disk) drawSalvage() args {
	a := d.drawFlip()
	delete(a, "open")
	return a
}

// salvage writes a new store with what Salvage finds in a copy, and judges that. An undamaged copy
// loses nothing. A damaged one may lose anything, but what is left is consistent.
func (c *copied) salvage(w *world) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		w.fail("make a directory: %v", err)
		return
	}
	defer os.RemoveAll(dir)
	r := &rescue{c: c, src: filepath.Join(dir, "src"), dst: filepath.Join(dir, "dst")}
	if err := r.write(); err != nil {
		w.fail("write a copy: %v", err)
		return
	}
	report, err := pebblemq.Salvage(context.Background(), r.src, r.dst, nil)
	switch {
	case err == nil:
	case c.flip != nil && c.flip.sort == "FORMAT" && errors.Is(err, pebblemq.ErrFormat):
		return
	default:
		w.fail("salvage a copy: %v", err)
		return
	}
	if c.flip == nil && report.Err() != nil {
		w.fail("Salvage says of a copy that nothing is wrong with: %v %v %v", report.Err(), report.Damages, report.Repaired)
	}
	if len(report.Unrepaired) > 0 {
		w.fail("Salvage left a contradiction: %v", report.Unrepaired[0])
	}
	r.judge(w)
}

// judge opens the new store and looks at it.
func (r *rescue) judge(w *world) {
	began := time.Now()
	db, err := pebblemq.Open(r.dst, &pebblemq.Options{
		MemoryBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return r.c.moment.Add(time.Since(began)) },
	})
	if err != nil {
		w.fail("open a store that was salvaged: %v", err)
		return
	}
	judges := []judge{judgeWhole, judgeWrite}
	if r.c.flip == nil {
		judges = append(r.c.judges, judges...)
	}
	r.c.judgeBy(w, db, judges, nil)
}

// write writes the files of the copy to the directory that is salvaged.
func (r *rescue) write() error {
	names, err := r.c.files.List("data")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.src, 0o777); err != nil {
		return err
	}
	for _, name := range names {
		if err := r.writeFile(name); err != nil {
			return err
		}
	}
	return nil
}

func (r *rescue) writeFile(name string) error {
	from, err := r.c.files.Open("data/"+name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(from)
	return errors.Join(err, from.Close(), os.WriteFile(filepath.Join(r.src, name), text, 0o666))
}
