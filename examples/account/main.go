// Account is event sourcing on a compacted log: accounts exist only as the events that changed
// them. Commands append with ExpectOffset, so they fail if the log has changed since they read
// it. Two withdrawals therefore never spend the same money. A second topic, compacted, keeps
// the newest balance of each account; a process that starts reads that, which takes time in
// accounts, and not all events ever.
//
//	go run ./examples/account
//
// The exit status is 0 only if the balances agree.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// event changes the balance of an account.
type event struct {
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
}

// errPoor refuses a withdrawal.
var errPoor = errors.New("not enough money")

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "account:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pebblemq-account-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	before, refused, err := trade(ctx, dir)
	if err != nil {
		return err
	}
	after, read, err := restart(ctx, dir)
	if err != nil {
		return err
	}
	sum := int64(0)
	for _, cents := range after {
		sum += cents
	}
	fmt.Printf("withdrawals refused         %d\n", refused)
	fmt.Printf("accounts, their sum         %d, %d\n", len(after), sum)
	fmt.Printf("records read after restart  %d\n", read)
	if !maps.Equal(before, after) {
		return fmt.Errorf("balances were %v and are %v", before, after)
	}
	return nil
}

const (
	accounts = 10
	clerks   = 4
	commands = 500 // of each clerk
)

// bank is the two topics, and the balances as far as they were read.
type bank struct {
	db     *pebblemq.DB
	events *log.Topic
	newest *log.Topic // compacted, by account

	mu struct {
		sync.Mutex
		reader   *log.Reader
		balances map[string]int64
	}
}

func open(ctx context.Context, dir string) (*bank, error) {
	db, err := pebblemq.Open(dir, &pebblemq.Options{Durability: pebblemq.NoSync})
	if err != nil {
		return nil, err
	}
	b := &bank{db: db}
	b.events, err = log.OpenTopic(ctx, db, "events", nil)
	if err == nil {
		b.newest, err = log.OpenTopic(ctx, db, "balances", &log.TopicConfig{Compact: true})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return b, nil
}

// trade has clerks work at once, and returns the balances in the end.
func trade(ctx context.Context, dir string) (balances map[string]int64, refused int, err error) {
	b, err := open(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, b.db.Close()) }()
	b.mu.balances = make(map[string]int64)
	if b.mu.reader, err = b.events.NewReader(0, log.Start()); err != nil {
		return nil, 0, err
	}
	var wg sync.WaitGroup
	results := make([]error, clerks)
	poor := make([]int, clerks)
	for c := range clerks {
		wg.Go(func() { poor[c], results[c] = b.clerk(ctx, c) })
	}
	wg.Wait()
	for _, n := range poor {
		refused += n
	}
	_, _, err = b.look(ctx, "") // what the others wrote last
	return b.mu.balances, refused, errors.Join(append(results, err)...)
}

// clerk pays in and withdraws.
func (b *bank) clerk(ctx context.Context, c int) (poor int, err error) {
	for i := range commands {
		e := event{Account: fmt.Sprint("account-", (i*7+c)%accounts), Cents: 100}
		if i%2 == 1 {
			e.Cents = -150
		}
		err := b.do(ctx, e)
		if errors.Is(err, errPoor) {
			poor++
		} else if err != nil {
			return poor, err
		}
	}
	return poor, nil
}

// do decides a command on the newest state, and writes its event and the balance in
// one commit if the state is still the newest then; else it looks again.
func (b *bank) do(ctx context.Context, e event) error {
	for {
		balance, next, err := b.look(ctx, e.Account)
		if err != nil {
			return err
		}
		if balance += e.Cents; balance < 0 {
			return errPoor
		}
		v, err := json.Marshal(e)
		if err != nil {
			return err
		}
		err = b.db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, err := b.events.In(tx).AppendWith(log.AppendOptions{Partition: log.InPartition(0), ExpectOffset: log.AtOffset(next)}, log.Record{Key: []byte(e.Account), Value: v})
			_, err2 := b.newest.In(tx).Append(log.Record{Key: []byte(e.Account), Value: fmt.Append(nil, balance)})
			return errors.Join(err, err2)
		})
		if !errors.Is(err, log.ErrConflict) {
			return err
		}
	}
}

// look catches up with the log, and returns an account's balance and the offset that
// it is as of.
func (b *bank) look(ctx context.Context, account string) (balance, next int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		records, err := b.mu.reader.Fetch(ctx, 100, 1<<20)
		if err != nil {
			return 0, 0, err
		}
		if len(records) == 0 {
			return b.mu.balances[account], b.mu.reader.Offset(), nil
		}
		for _, r := range records {
			var e event
			if err := json.Unmarshal(r.Value, &e); err != nil {
				return 0, 0, err
			}
			b.mu.balances[e.Account] += e.Cents
		}
	}
}

// restart reads the balances as a new process would, from the compacted topic.
func restart(ctx context.Context, dir string) (balances map[string]int64, read int, err error) {
	b, err := open(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, b.db.Close()) }()
	if err := b.newest.Compact(ctx); err != nil { // happens by itself, but not this soon
		return nil, 0, err
	}
	r, err := b.newest.NewReader(0, log.Start())
	if err != nil {
		return nil, 0, err
	}
	balances = make(map[string]int64)
	for {
		records, err := r.Fetch(ctx, 100, 1<<20)
		if err != nil || len(records) == 0 {
			return balances, read, err
		}
		read += len(records)
		for _, rec := range records {
			var cents int64
			if _, err := fmt.Sscan(string(rec.Value), &cents); err != nil {
				return nil, 0, err
			}
			balances[string(rec.Key)] = cents
		}
	}
}
