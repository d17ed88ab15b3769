package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver
	"maragu.dev/goqite"
)

var goqitePeer = &Peer{
	Name: "goqite",
	About: "a queue in a SQLite table, WAL mode, one connection; batches are transactions. Dedupe keys and " +
		"transactions are plain SQL in the same database",
	Modules:    []string{"maragu.dev/goqite", "github.com/mattn/go-sqlite3"},
	Durable:    "synchronous=FULL",
	Relaxed:    "synchronous=NORMAL",
	Queue:      openGoqiteQueue,
	Visibility: openGoqiteVisibility,
	Dedupe:     openSQLiteDedupe,
	Tx:         openSQLiteTx,
}

// goqiteSchema is the one that goqite's documentation has one create.
//
//go:embed goqite.sql
var goqiteSchema string

func openSQLite(e Env) (*sql.DB, error) {
	level := "NORMAL"
	if e.durable() {
		level = "FULL"
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(e.Dir, "db")+"?_journal=WAL&_txlock=immediate&_busy_timeout=10000&_synchronous="+level)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if e.Reopen {
		return db, nil
	}
	_, err = db.Exec(goqiteSchema)
	return db, err
}

func inTx(db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

type goqiteQueue struct {
	db   *sql.DB
	q    *goqite.Queue
	wake chan struct{}
}

func newGoqite(db *sql.DB, name string) *goqite.Queue {
	return goqite.New(goqite.NewOpts{DB: db, Name: name, Timeout: 10 * time.Minute})
}

func openGoqite(e Env) (*goqiteQueue, error) {
	db, err := openSQLite(e)
	if err != nil {
		return nil, err
	}
	return &goqiteQueue{db, newGoqite(db, "q"), make(chan struct{}, 1)}, nil
}

func openGoqiteQueue(e Env) (Queue, error) { return openGoqite(e) }

func (q *goqiteQueue) Publish(bodies [][]byte) error {
	err := inTx(q.db, func(tx *sql.Tx) error {
		for _, b := range bodies {
			if err := q.q.SendTx(bg, tx, goqite.Message{Body: b}); err != nil {
				return err
			}
		}
		return nil
	})
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return err
}

func (q *goqiteQueue) receive(limit int) (got []Message, err error) {
	err = inTx(q.db, func(tx *sql.Tx) error {
		for len(got) < limit {
			m, err := q.q.ReceiveTx(bg, tx)
			if err != nil || m == nil {
				return err
			}
			got = append(got, Message{Body: m.Body, handle: m.ID})
		}
		return nil
	})
	return got, err
}

func (q *goqiteQueue) Delete(messages []Message) error {
	return inTx(q.db, func(tx *sql.Tx) error {
		for _, m := range messages {
			if err := q.q.DeleteTx(bg, tx, m.handle.(goqite.ID)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (q *goqiteQueue) Consumer(int) (Consumer, error) { return goqiteConsumer{q}, nil }

func (q *goqiteQueue) Close() error { return q.db.Close() }

// goqiteConsumer is woken by a publish, which is kinder than goqite's own
// waiting: that looks at intervals.
type goqiteConsumer struct{ q *goqiteQueue }

func (c goqiteConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	for {
		got, err := c.q.receive(limit)
		if err != nil || len(got) > 0 {
			return got, err
		}
		select {
		case <-c.q.wake:
		case <-time.After(5 * time.Millisecond): // another took the wake-up
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (c goqiteConsumer) Ack(messages []Message) error { return c.q.Delete(messages) }

func (c goqiteConsumer) Close() error { return nil }

type goqiteVisibility struct{ *goqiteQueue }

func openGoqiteVisibility(e Env) (Visibility, error) {
	q, err := openGoqite(e)
	return goqiteVisibility{q}, err
}

func (v goqiteVisibility) Send(bodies [][]byte, _ int) error { return v.Publish(bodies) }

func (v goqiteVisibility) Receive(limit int) ([]Message, error) { return v.receive(limit) }

type sqliteDedupe struct {
	db           *sql.DB
	insert, find *sql.Stmt
}

const sqliteTables = `
	create table if not exists keys (k blob primary key, result blob not null) without rowid;
	create table if not exists log (n integer primary key, record blob not null);
	create table if not exists state (k text primary key, v blob not null) without rowid;`

func openSQLiteTables(e Env) (*sql.DB, error) {
	db, err := openSQLite(e)
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(sqliteTables)
	return db, err
}

const insertKey = `insert into keys (k, result) values (?, ?) on conflict do nothing`

func openSQLiteDedupe(e Env) (Dedupe, error) {
	db, err := openSQLiteTables(e)
	if err != nil {
		return nil, err
	}
	d := &sqliteDedupe{db: db}
	if d.insert, err = db.Prepare(insertKey); err != nil {
		return nil, err
	}
	d.find, err = db.Prepare(`select result from keys where k = ?`)
	return d, err
}

func (d *sqliteDedupe) Fill(keys [][]byte, result []byte) error {
	return inTx(d.db, func(tx *sql.Tx) error {
		insert := tx.Stmt(d.insert)
		for _, k := range keys {
			if _, err := insert.Exec(k, result); err != nil {
				return err
			}
		}
		return nil
	})
}

// Once looks first, which takes no write when the key is there.
func (d *sqliteDedupe) Once(key, result []byte) (bool, []byte, error) {
	for {
		var found []byte
		err := d.find.QueryRow(key).Scan(&found)
		if !errors.Is(err, sql.ErrNoRows) {
			return false, found, err
		}
		res, err := d.insert.Exec(key, result)
		if err != nil {
			return false, nil, err
		}
		n, err := res.RowsAffected()
		if err != nil || n == 1 {
			return true, result, err
		}
	}
}

func (d *sqliteDedupe) Close() error {
	return errors.Join(d.insert.Close(), d.find.Close(), d.db.Close())
}

// sqliteTx does all of it in one transaction, the receiving too.
type sqliteTx struct{ db *sql.DB }

func openSQLiteTx(e Env) (Tx, error) {
	db, err := openSQLiteTables(e)
	return &sqliteTx{db}, err
}

func (t *sqliteTx) Worker(n int) (func(int, []byte) error, error) {
	q, state := newGoqite(t.db, queueName(n)), fmt.Sprintf("state %d", n)
	if err := q.Send(bg, goqite.Message{Body: []byte("first")}); err != nil {
		return nil, err
	}
	return func(i int, record []byte) error {
		return inTx(t.db, func(tx *sql.Tx) error {
			m, err := q.ReceiveTx(bg, tx)
			if err != nil || m == nil {
				return errors.Join(err, errors.New("no message is waiting"))
			}
			if err := q.DeleteTx(bg, tx, m.ID); err != nil {
				return err
			}
			if err := q.SendTx(bg, tx, goqite.Message{Body: record}); err != nil {
				return err
			}
			_, err = tx.Exec(`insert into log (record) values (?)`, record)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`insert into state values (?, ?) on conflict do update set v = excluded.v`, state, record)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`insert into keys values (?, '')`, key(byte(n), uint64(i))) // fails if it is there
			return err
		})
	}, nil
}

func (t *sqliteTx) Check() (records, keys, waiting int, err error) {
	err = t.db.QueryRow(`select (select count(*) from log), (select count(*) from keys), (select count(*) from goqite)`).
		Scan(&records, &keys, &waiting)
	return records, keys, waiting, err
}

func (t *sqliteTx) Close() error { return t.db.Close() }
