package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

var postgresServer = &Server{Name: "postgresql", Env: "BENCH_POSTGRES"}

var riverPeer = &Peer{
	Name: "river",
	About: "River on PostgreSQL over loopback TCP, jobs inserted with InsertMany, its own completer; dedupe keys and " +
		"the rest of a transaction are plain SQL",
	Modules: []string{"github.com/riverqueue/river", "github.com/jackc/pgx/v5"},
	Server:  postgresServer,
	Durable: "default: synchronous_commit on",
	Relaxed: "synchronous_commit off",
	Queue:   openRiverQueue,
	Dedupe:  openPostgresDedupe,
	Tx:      openRiverTx,
}

const postgresDatabase = "bench_cell"

// openPostgres begins with a new database, unless it is opened again.
func openPostgres(e Env) (*pgxpool.Pool, error) {
	at, err := postgresServer.find()
	if err != nil {
		return nil, err
	}
	url := "postgres://bench@" + at.address + "/"
	if !e.Reopen {
		if err := newDatabase(url); err != nil {
			return nil, err
		}
	}
	c, err := pgxpool.ParseConfig(url + postgresDatabase)
	if err != nil {
		return nil, err
	}
	c.MaxConns = 40
	if !e.durable() {
		c.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	}
	pool, err := pgxpool.NewWithConfig(bg, c)
	if err != nil || e.Reopen {
		return pool, err
	}
	_, err = pool.Exec(bg, `
		create table keys (k bytea primary key, result bytea not null);
		create table log (n bigserial primary key, record bytea not null);
		create table state (k text primary key, v bytea not null)`)
	return pool, err
}

func newDatabase(url string) error {
	conn, err := pgx.Connect(bg, url+"postgres")
	if err != nil {
		return err
	}
	defer conn.Close(bg)
	if _, err := conn.Exec(bg, "drop database if exists "+postgresDatabase+" with (force)"); err != nil {
		return err
	}
	_, err = conn.Exec(bg, "create database "+postgresDatabase)
	return err
}

// riverJob carries a body; JSON makes base64 of it.
type riverJob struct {
	Body []byte `json:"b"`
}

func (riverJob) Kind() string { return "bench" }

// riverWork is a job in the hands of the bench: River's worker waits until done
// is closed.
type riverWork struct {
	ctx  context.Context // carries the client, for JobCompleteTx
	job  *river.Job[riverJob]
	done chan struct{}
}

type riverWorker struct {
	river.WorkerDefaults[riverJob]
	work map[string]chan riverWork // by queue
}

func (w *riverWorker) Timeout(*river.Job[riverJob]) time.Duration { return -1 }

func (w *riverWorker) Work(ctx context.Context, job *river.Job[riverJob]) error {
	rw := riverWork{ctx, job, make(chan struct{})}
	select {
	case w.work[job.Queue] <- rw:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-rw.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type riverClient struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	worker *riverWorker
	once   sync.Once
}

func openRiver(e Env, queues []string, workers int) (*riverClient, error) {
	pool, err := openPostgres(e)
	if err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(pool)
	if !e.Reopen {
		m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		if _, err := m.Migrate(bg, rivermigrate.DirectionUp, nil); err != nil {
			return nil, err
		}
	}
	r := &riverClient{pool: pool, worker: &riverWorker{work: map[string]chan riverWork{}}}
	all := river.NewWorkers()
	river.AddWorker(all, r.worker)
	config := &river.Config{
		Workers: all, Queues: map[string]river.QueueConfig{}, Logger: slog.New(slog.DiscardHandler),
		FetchCooldown: time.Millisecond, FetchPollInterval: 50 * time.Millisecond, JobTimeout: -1,
	}
	for _, q := range queues {
		r.worker.work[q] = make(chan riverWork)
		config.Queues[q] = river.QueueConfig{MaxWorkers: workers}
	}
	r.client, err = river.NewClient(driver, config)
	return r, err
}

// start begins to work on jobs, once.
func (r *riverClient) start() (err error) {
	r.once.Do(func() { err = r.client.Start(bg) })
	return err
}

func (r *riverClient) Close() error {
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	err := r.client.StopAndCancel(ctx)
	r.pool.Close()
	return err
}

type riverQueue struct{ *riverClient }

const riverWorkers = 500

func openRiverQueue(e Env) (Queue, error) {
	r, err := openRiver(e, []string{river.QueueDefault}, riverWorkers)
	return riverQueue{r}, err
}

func (q riverQueue) Publish(bodies [][]byte) error {
	if len(bodies) == 1 {
		_, err := q.client.Insert(bg, riverJob{bodies[0]}, nil)
		return err
	}
	jobs := make([]river.InsertManyParams, len(bodies))
	for i, b := range bodies {
		jobs[i].Args = riverJob{b}
	}
	_, err := q.client.InsertMany(bg, jobs)
	return err
}

func (q riverQueue) Consumer(int) (Consumer, error) {
	return riverConsumer{q.worker.work[river.QueueDefault]}, q.start()
}

type riverConsumer struct{ work chan riverWork }

func (c riverConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return gather(ctx, limit, func(ctx context.Context) (Message, error) {
		select {
		case w := <-c.work:
			return Message{Body: w.job.Args.Body, handle: w.done}, nil
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	})
}

// Ack lets the workers return. River completes jobs in batches behind that.
func (c riverConsumer) Ack(messages []Message) error {
	for _, m := range messages {
		close(m.handle.(chan struct{}))
	}
	return nil
}

func (c riverConsumer) Close() error { return nil }

type postgresDedupe struct{ pool *pgxpool.Pool }

func openPostgresDedupe(e Env) (Dedupe, error) {
	pool, err := openPostgres(e)
	return postgresDedupe{pool}, err
}

func (d postgresDedupe) Fill(keys [][]byte, result []byte) error {
	_, err := d.pool.CopyFrom(bg, pgx.Identifier{"keys"}, []string{"k", "result"},
		pgx.CopyFromSlice(len(keys), func(i int) ([]any, error) { return []any{keys[i], result}, nil }))
	return err
}

func (d postgresDedupe) Once(key, result []byte) (bool, []byte, error) {
	for {
		var found []byte
		err := d.pool.QueryRow(bg, `select result from keys where k = $1`, key).Scan(&found)
		if !errors.Is(err, pgx.ErrNoRows) {
			return false, found, err
		}
		done, err := d.pool.Exec(bg, `insert into keys values ($1, $2) on conflict do nothing`, key, result)
		if err != nil || done.RowsAffected() == 1 {
			return true, result, err
		}
	}
}

func (d postgresDedupe) Close() error { d.pool.Close(); return nil }

type riverTx struct{ *riverClient }

// txQueues is as many workers as a transaction workload has at most.
const txQueues = 16

func openRiverTx(e Env) (Tx, error) {
	var queues []string
	for i := range txQueues {
		queues = append(queues, queueName(i))
	}
	r, err := openRiver(e, queues, 1)
	return riverTx{r}, err
}

func (t riverTx) Worker(n int) (func(int, []byte) error, error) {
	opts := &river.InsertOpts{Queue: queueName(n)}
	if _, err := t.client.Insert(bg, riverJob{[]byte("first")}, opts); err != nil {
		return nil, err
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	work, state := t.worker.work[queueName(n)], fmt.Sprintf("state %d", n)
	return func(i int, record []byte) error {
		w := <-work
		defer close(w.done)
		return pgx.BeginFunc(bg, t.pool, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(`insert into log (record) values ($1)`, record)
			b.Queue(`insert into state values ($1, $2) on conflict (k) do update set v = excluded.v`, state, record)
			b.Queue(`insert into keys values ($1, '')`, key(byte(n), uint64(i))) // fails if it is there
			if err := tx.SendBatch(bg, b).Close(); err != nil {
				return err
			}
			if _, err := t.client.InsertTx(bg, tx, riverJob{record}, opts); err != nil {
				return err
			}
			_, err := river.JobCompleteTx[*riverpgxv5.Driver](w.ctx, tx, w.job)
			return err
		})
	}, nil
}

func (t riverTx) Check() (records, keys, waiting int, err error) {
	err = t.pool.QueryRow(bg, `select (select count(*) from log), (select count(*) from keys),
		(select count(*) from river_job where state <> 'completed')`).Scan(&records, &keys, &waiting)
	return records, keys, waiting, err
}
