package guide_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func serve(dir string, work func(context.Context, *pebblemq.DB) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	db, err := pebblemq.Open(dir, &pebblemq.Options{MemoryBytes: 64 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return work(ctx, db)
}

func work(ctx context.Context, db *pebblemq.DB) error {
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	jobs, _, err := broker.EnsureQueue(ctx, "jobs", &workqueue.QueueConfig{AckTimeout: time.Hour})
	if err != nil {
		return err
	}
	mail, _, err := visibility.EnsureQueue(ctx, db, "mail", nil)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return jobs.Run(ctx, handleJob, &workqueue.RunOptions{Concurrency: 8, DrainTimeout: 15 * time.Second})
	})
	g.Go(func() error {
		return mail.Run(ctx, handleMail, &visibility.RunOptions{DrainTimeout: 15 * time.Second})
	})
	return g.Wait()
}

func ready(db *pebblemq.DB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		health := db.Health()
		if health.Err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, health)
	}
}

func metrics(db *pebblemq.DB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d, err := db.Describe(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "disk_bytes %d\nunsynced_seconds %g\n", d.Stats.DiskBytes, d.Stats.UnsyncedAge.Seconds())
		for _, o := range d.Objects {
			for _, n := range o.Numbers() {
				fmt.Fprintf(w, "%s{kind=%q,parent=%q,name=%q} %g\n", n.Name, o.Kind, o.Parent, o.Name, n.Value)
			}
		}
	}
}

func verify(ctx context.Context, db *pebblemq.DB) error {
	report, err := db.Verify(ctx, &pebblemq.VerifyOptions{BytesPerSecond: 16 << 20})
	if err != nil {
		return err // it could not finish
	}
	for _, d := range report.Damages {
		slog.Error("store is damaged", "damage", d.String())
	}
	for _, c := range report.Contradictions {
		slog.Error("store contradicts itself", "contradiction", c.String())
	}
	return report.Err()
}

func backUp(ctx context.Context, db *pebblemq.DB, dir string) error {
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil { // what a crash has left
		return err
	}
	if err := db.Checkpoint(ctx, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func checkBackup(ctx context.Context, dir string) (err error) {
	db, err := pebblemq.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	report, err := db.Verify(ctx, &pebblemq.VerifyOptions{BytesPerSecond: pebblemq.Unlimited})
	if err != nil {
		return err
	}
	return report.Err()
}

func restore(backup, dir string) error {
	if err := os.Rename(dir, dir+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.CopyFS(dir, os.DirFS(backup))
}

func salvage(ctx context.Context, dir string) error {
	saved := dir + ".saved"
	report, err := pebblemq.Salvage(ctx, dir, saved, nil)
	if err != nil {
		return err
	}
	if err := report.Err(); err != nil { // something is lost, and the rest is in the new store
		slog.Warn("salvaged with losses", "error", err)
	}
	return errors.Join(os.Rename(dir, dir+".damaged"), os.Rename(saved, dir))
}

func handleJob(ctx context.Context, d *workqueue.Delivery) error   { return nil }
func handleMail(ctx context.Context, m *visibility.Received) error { return nil }

func fillStore(t *testing.T, dir string) {
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	broker := openBroker(t, db)
	declare(t, broker, "jobs", nil)
	require.NoError(t, broker.Publish(t.Context(), "", "jobs", workqueue.Message{MessageID: "42"}))
	_, err = log.OpenTopic(t.Context(), db, "orders", nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func ready42(t *testing.T, dir string) {
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	defer db.Close()
	pebblemqtest.RequirePublished(t, declare(t, openBroker(t, db), "jobs", nil), pebblemqtest.PublishedLike(workqueue.Message{MessageID: "42"}))
}

func TestABackupIsRestored(t *testing.T) {
	dir, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	fillStore(t, dir)
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(backup+".tmp", 0o700))
	require.NoError(t, backUp(t.Context(), db, backup))
	require.Error(t, backUp(t.Context(), db, backup), "a backup is not overwritten")
	broker := openBroker(t, db)
	_, err = declare(t, broker, "jobs", nil).Purge(t.Context())
	require.NoError(t, err)
	require.NoError(t, verify(t.Context(), db))
	require.NoError(t, db.Close())

	require.NoError(t, checkBackup(t.Context(), backup))
	require.NoError(t, restore(backup, dir))
	ready42(t, dir)
}

func TestADamagedStoreIsSalvaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fillStore(t, dir)
	require.NoError(t, salvage(t.Context(), dir))
	ready42(t, dir)
	_, err := os.Stat(dir + ".damaged")
	require.NoError(t, err)
}

func TestTheServiceEndsWithItsSignal(t *testing.T) {
	err := serve(filepath.Join(t.TempDir(), "data"), func(ctx context.Context, db *pebblemq.DB) error {
		ctx, stop := context.WithCancel(ctx)
		stop()
		return work(ctx, db)
	})
	require.ErrorIs(t, err, context.Canceled, "before the objects were there")

	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- work(ctx, db) }()
		synctest.Wait()
		w := httptest.NewRecorder()
		metrics(db)(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		require.Contains(t, w.Body.String(), `ready{kind="work queue",parent="main",name="jobs"} 0`)
		stop()
		require.NoError(t, <-done)
	})
}

// A handler that does not heed its context is left behind.
func TestShutdownTakesNoLongerThanDrainAndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		broker := openBroker(t, db)
		jobs := declare(t, broker, "jobs", nil)
		require.NoError(t, broker.Publish(t.Context(), "", "jobs", workqueue.Message{}))
		ctx, stop := context.WithCancel(t.Context())
		done, release := make(chan error), make(chan bool)
		go func() {
			done <- jobs.Run(ctx, func(context.Context, *workqueue.Delivery) error { <-release; return nil },
				&workqueue.RunOptions{DrainTimeout: 15 * time.Second})
		}()
		synctest.Wait()
		began := time.Now()
		stop()
		require.ErrorIs(t, <-done, pebblemq.ErrAbandoned)
		require.Equal(t, 15*time.Second+pebblemq.HandlerGrace, time.Since(began))
		close(release)
		st, err := jobs.Stats(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Ready)
	})
}

func TestHealthTurnsTheServiceAway(t *testing.T) {
	db := pebblemqtest.Open(t, quiet())
	get := func() (int, string) {
		w := httptest.NewRecorder()
		ready(db)(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ready", nil))
		text, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		return w.Code, strings.TrimSpace(string(text))
	}
	code, text := get()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok", text)
	require.NoError(t, db.Close())
	code, text = get()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, "closed")
}

func TestConfigsDiffer(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		declare(t, broker, "jobs", &workqueue.QueueConfig{MaxLength: 10, DeliveryLimit: 3})
		_, err := broker.DeclareQueue(ctx, "jobs", &workqueue.QueueConfig{MaxLength: 11})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "MaxLength 10, not 11")
		require.ErrorContains(t, err, "DeliveryLimit 3, not 20")
		require.ErrorContains(t, err, "EnsureQueue")
		_, did, err := broker.EnsureQueue(ctx, "jobs", &workqueue.QueueConfig{MaxLength: 11, DeliveryLimit: 3})
		require.NoError(t, err)
		require.Equal(t, []string{"MaxLength"}, did.Altered)
	})
}
