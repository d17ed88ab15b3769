package backup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob/fileblob"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/contrib/backup"
)

// A directory is a bucket as well. With gocloud.dev/blob/s3blob it would be
// blob.OpenBucket(ctx, "s3://backups?prefix=orders/").
func ExampleTake() {
	ctx := context.Background()
	base, err := os.MkdirTemp("", "backup-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(base)
	db, err := pebblemq.Open(filepath.Join(base, "store"), nil)
	if err != nil {
		panic(err)
	}
	defer db.Close()
	bucket, err := fileblob.OpenBucket(filepath.Join(base, "backups"), &fileblob.Options{CreateDir: true})
	if err != nil {
		panic(err)
	}
	defer bucket.Close()

	put(ctx, db, "paid")
	if _, err := backup.Take(ctx, db, bucket, nil); err != nil { // or backup.Run(ctx, db, bucket, time.Minute, nil)
		panic(err)
	}
	put(ctx, db, "sent")
	if _, err := backup.Restore(ctx, bucket, time.Time{}, filepath.Join(base, "restored")); err != nil {
		panic(err)
	}
	restored, err := pebblemq.Open(filepath.Join(base, "restored"), nil)
	if err != nil {
		panic(err)
	}
	defer restored.Close()
	fmt.Println("now:", get(ctx, db), "restored:", get(ctx, restored))
	// Output: now: sent restored: paid
}

func put(ctx context.Context, db *pebblemq.DB, state string) {
	err := db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("order"), []byte(state)) })
	if err != nil {
		panic(err)
	}
}

func get(ctx context.Context, db *pebblemq.DB) (state string) {
	err := db.View(ctx, func(tx *pebblemq.Tx) error {
		value, err := tx.Get([]byte("order"))
		state = string(value)
		return err
	})
	if err != nil {
		panic(err)
	}
	return state
}
