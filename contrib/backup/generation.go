package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
)

const (
	version     = 1
	generations = "generations/"
	files       = "files/"

	// stamp is how a generation is named: its moment, so that names sort by time.
	stamp = "20060102T150405.000000000Z"
)

// Generation is a copy of a store.
type Generation struct {
	Taken    time.Time // when the copy was made, in UTC; it has no change of later
	Files    int       // that it consists of
	Bytes    int64     // of them
	Uploaded int64     // bytes that no earlier generation had
}

// manifest is a generation as it is stored.
type manifest struct {
	Version  int       `json:"version"`
	Taken    time.Time `json:"taken"`
	Uploaded int64     `json:"uploaded"`
	Files    []file    `json:"files"`
}

// file is a file of a store.
type file struct {
	Name     string `json:"name"` // in the directory of the store
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // in nanoseconds since 1970
	Hash     string `json:"sha256"`
}

// key is where the contents of a file are. Many buckets cope badly with too many objects in one folder.
func (f file) key() string { return files + f.Hash[:2] + "/" + f.Hash }

func (m *manifest) key() string { return generations + m.Taken.Format(stamp) + ".json" }

func (m *manifest) generation() Generation {
	g := Generation{Taken: m.Taken, Files: len(m.Files), Uploaded: m.Uploaded}
	for _, f := range m.Files {
		g.Bytes += f.Size
	}
	return g
}

// Generations returns what is in a bucket, the oldest first.
func Generations(ctx context.Context, from *blob.Bucket) ([]Generation, error) {
	all, err := manifests(ctx, cloud{from})
	list := make([]Generation, len(all))
	for i, m := range all {
		list[i] = m.generation()
	}
	return list, err
}

// manifests reads all of them, the oldest first.
func manifests(ctx context.Context, b bucket) (all []*manifest, err error) {
	for key, err := range b.list(ctx, generations) {
		if err != nil {
			return nil, fmt.Errorf("backup: list the generations: %w", err)
		}
		m, err := readManifest(ctx, b, key)
		if err != nil {
			return nil, fmt.Errorf("backup: generation %s: %w", strings.TrimPrefix(key, generations), err)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(m, o *manifest) int { return cmp.Compare(m.key(), o.key()) })
	return all, nil
}

func readManifest(ctx context.Context, b bucket, key string) (m *manifest, err error) {
	r, err := b.get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return decodeManifest(text)
}

// decodeManifest checks all that restoring relies on.
func decodeManifest(text []byte) (*manifest, error) {
	m := &manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, err
	}
	if m.Version != version {
		return nil, fmt.Errorf("is of format %d, this program knows %d", m.Version, version)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return nil, fmt.Errorf("has a file %q, which is outside of the directory", f.Name)
		}
		if sum, err := hex.DecodeString(f.Hash); err != nil || len(sum) != hashBytes {
			return nil, fmt.Errorf("the hash %q of file %q is none", f.Hash, f.Name)
		}
	}
	return m, nil
}

func (m *manifest) write(ctx context.Context, b bucket) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return b.put(ctx, m.key(), bytes.NewReader(text))
}
