package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"

	"github.com/pebblemq/pebblemq"
)

const hashBytes = sha256.Size

// Take copies a store once. It returns when the generation is in the bucket and was read back. With an
// error there is no new generation, or it is there and older ones could not be removed. While the
// disk of the store is full it returns ErrDiskFull.
func Take(ctx context.Context, db *pebblemq.DB, to *blob.Bucket, o *Options) (Generation, error) {
	full, err := o.withDefaults()
	if err != nil {
		return Generation{}, err
	}
	return take(ctx, db, cloud{to}, &full)
}

func take(ctx context.Context, db *pebblemq.DB, to bucket, o *Options) (g Generation, err error) {
	temp, err := os.MkdirTemp(o.TempDir, "pebblemq-backup-")
	if err != nil {
		return Generation{}, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	before, err := manifests(ctx, to)
	if err != nil {
		return Generation{}, err
	}
	t := newTransfer(to, filepath.Join(temp, "store"), before)
	if err := db.Checkpoint(ctx, t.dir); err != nil {
		return Generation{}, fmt.Errorf("backup: %w", err)
	}
	m := &manifest{Version: version, Taken: time.Now().UTC()} // nothing in it is of later
	if n := len(before); n > 0 && !m.Taken.After(before[n-1].Taken) {
		m.Taken = before[n-1].Taken.Add(1) // the clock was set back, and the names keep the order
	}
	if m.Files, err = t.all(ctx); err != nil {
		return Generation{}, err
	}
	m.Uploaded = t.uploaded
	if err := m.write(ctx, to); err != nil {
		return Generation{}, fmt.Errorf("backup: write the generation: %w", err)
	}
	return m.generation(), prune(ctx, to, append(before, m), o.Keep)
}

// transfer brings the files of a checkpoint to a bucket.
type transfer struct {
	to       bucket
	dir      string
	there    map[string]bool // hashes that a generation has, and that were read back
	tables   map[file]string // hashes of tables by name, size and time
	uploaded int64
}

func newTransfer(to bucket, dir string, before []*manifest) *transfer {
	t := &transfer{to: to, dir: dir, there: make(map[string]bool), tables: make(map[file]string)}
	for _, m := range before {
		for _, f := range m.Files {
			t.there[f.Hash] = true
			if isTable(f.Name) {
				t.tables[f.anonymous()] = f.Hash
			}
		}
	}
	return t
}

// isTable reports that a file never changes once it is written, nor is its name used again.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// anonymous is the file without its hash.
func (f file) anonymous() file {
	f.Hash = ""
	return f
}

func (t *transfer) all(ctx context.Context) (list []file, err error) {
	err = filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := t.one(ctx, path)
		list = append(list, f)
		return err
	})
	return list, err
}

func (t *transfer) one(ctx context.Context, path string) (f file, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return f, err
	}
	name, err := filepath.Rel(t.dir, path)
	if err != nil {
		return f, err
	}
	f = file{Name: filepath.ToSlash(name), Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if f.Hash = t.tables[f]; f.Hash != "" {
		return f, nil
	}
	if f.Hash, err = hashOf(os.Open(path)); err != nil || t.there[f.Hash] {
		return f, err
	}
	if err := t.upload(ctx, path, f); err != nil {
		return f, fmt.Errorf("backup: file %s: %w", f.Name, err)
	}
	return f, nil
}

// upload writes the contents of a file and reads them back. An object of a backup that was cut
// short is written again, because nobody has read that back.
func (t *transfer) upload(ctx context.Context, path string, f file) (err error) {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := t.to.put(ctx, f.key(), r); err != nil {
		return err
	}
	found, err := hashOf(t.to.get(ctx, f.key()))
	if err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if found != f.Hash {
		return fmt.Errorf("what was read back is not what was written: the SHA-256 is %s, not %s", found, f.Hash)
	}
	t.there[f.Hash] = true
	t.uploaded += f.Size
	return nil
}

// hashOf reads all there is.
func hashOf(r io.ReadCloser, err error) (string, error) {
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, r.Close())
}
