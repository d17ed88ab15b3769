package backup

import (
	"context"
	"errors"
	"io"
	"iter"

	"gocloud.dev/blob"
)

// bucket is what a backup needs of the place that it goes to. An object is there as a whole or not at all.
type bucket interface {
	put(ctx context.Context, key string, from io.Reader) error
	get(ctx context.Context, key string) (io.ReadCloser, error)
	list(ctx context.Context, prefix string) iter.Seq2[string, error]
	remove(ctx context.Context, key string) error
}

// cloud is a bucket of gocloud.dev/blob.
type cloud struct{ b *blob.Bucket }

func (c cloud) put(ctx context.Context, key string, from io.Reader) error {
	ctx, abandon := context.WithCancel(ctx)
	defer abandon()
	w, err := c.b.NewWriter(ctx, key, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, from); err != nil {
		abandon() // or Close would make an object of the beginning
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

func (c cloud) get(ctx context.Context, key string) (io.ReadCloser, error) {
	return c.b.NewReader(ctx, key, nil)
}

func (c cloud) list(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for it := c.b.List(&blob.ListOptions{Prefix: prefix}); ; {
			o, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
			if !yield(o.Key, nil) {
				return
			}
		}
	}
}

func (c cloud) remove(ctx context.Context, key string) error { return c.b.Delete(ctx, key) }
