package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var redisServer = &Server{Name: "redis", Env: "BENCH_REDIS"}

var redisPeer = &Peer{
	Name: "redis",
	About: "Redis streams over loopback TCP, the whole data set in its memory; batches are pipelined, an acknowledged " +
		"message is deleted",
	Modules:    []string{"github.com/redis/go-redis/v9"},
	Server:     redisServer,
	Durable:    "appendfsync always",
	Relaxed:    "appendfsync everysec",
	Log:        openRedisLog,
	Groups:     true,
	Queue:      openRedisQueue,
	Visibility: openRedisVisibility,
	Fanout:     openRedisFanout,
	Dedupe:     openRedisDedupe,
	Tx:         openRedisTx,
}

type redisClient struct{ *redis.Client }

// openRedis begins with an empty database, unless it is opened again.
func openRedis(e Env) (*redisClient, error) {
	at, err := redisServer.find()
	if err != nil {
		return nil, err
	}
	c := redis.NewClient(&redis.Options{Addr: at.address, PoolSize: 300, ReadTimeout: time.Minute})
	fsync := "everysec"
	if e.durable() {
		fsync = "always"
	}
	err = c.ConfigSet(bg, "appendfsync", fsync).Err()
	if !e.Reopen {
		err = errors.Join(err, c.FlushAll(bg).Err())
		_ = c.BgRewriteAOF(bg).Err() // to have the file short again; one may be running
	}
	return &redisClient{c}, err
}

func (c *redisClient) add(stream string, bodies [][]byte) error {
	if len(bodies) == 1 {
		return c.XAdd(bg, &redis.XAddArgs{Stream: stream, Values: []any{"b", bodies[0]}}).Err()
	}
	p := c.Pipeline()
	for _, b := range bodies {
		p.XAdd(bg, &redis.XAddArgs{Stream: stream, Values: []any{"b", b}})
	}
	_, err := p.Exec(bg)
	return err
}

func (c *redisClient) group(stream string) error {
	return c.XGroupCreateMkStream(bg, stream, "g", "0").Err()
}

func redisBody(m redis.XMessage) []byte {
	body, _ := m.Values["b"].(string)
	return []byte(body)
}

// read takes messages for a consumer; block below 0 does not wait.
func (c *redisClient) read(ctx context.Context, stream, group, consumer string, limit int, block time.Duration) ([]Message, error) {
	streams, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: consumer, Streams: []string{stream, ">"}, Count: int64(limit), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var got []Message
	for _, m := range streams[0].Messages {
		got = append(got, Message{Body: redisBody(m), handle: m.ID})
	}
	return got, nil
}

func (c *redisClient) settle(stream string, messages []Message) error {
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.handle.(string)
	}
	p := c.Pipeline()
	p.XAck(bg, stream, "g", ids...)
	p.XDel(bg, stream, ids...)
	_, err := p.Exec(bg)
	return err
}

type redisLog struct{ *redisClient }

func openRedisLog(e Env) (Log, error) {
	c, err := openRedis(e)
	return redisLog{c}, err
}

func (l redisLog) Append(records [][]byte) error { return l.add("log", records) }

func (l redisLog) Replay(n int, f func([]byte) error) error {
	for from := "-"; n > 0; {
		got, err := l.XRangeN(bg, "log", from, "+", int64(min(n, 1000))).Result()
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return errors.New("the stream ends early")
		}
		for _, m := range got {
			if err := f(redisBody(m)); err != nil {
				return err
			}
		}
		n -= len(got)
		from = "(" + got[len(got)-1].ID
	}
	return nil
}

func (l redisLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	if err := l.XGroupCreate(bg, "log", name, "0").Err(); err != nil {
		return err
	}
	for n > 0 {
		got, err := l.read(bg, "log", name, "c", min(n, commitEvery), -1)
		if err != nil {
			return err
		}
		ids := make([]string, len(got))
		for i, m := range got {
			if err := f(m.Body); err != nil {
				return err
			}
			ids[i] = m.handle.(string)
		}
		if len(got) == 0 {
			return errors.New("the stream ends early")
		}
		if err := l.XAck(bg, "log", name, ids...).Err(); err != nil {
			return err
		}
		n -= len(got)
	}
	return nil
}

type redisQueue struct {
	*redisClient
	consumers int
}

func openRedisQueue(e Env) (Queue, error) {
	c, err := openRedis(e)
	if err == nil && !e.Reopen {
		err = c.group("q")
	}
	return &redisQueue{redisClient: c}, err
}

func (q *redisQueue) Publish(bodies [][]byte) error { return q.add("q", bodies) }

func (q *redisQueue) Consumer(int) (Consumer, error) {
	q.consumers++
	return redisConsumer{q.redisClient, fmt.Sprintf("c%d", q.consumers)}, nil
}

type redisConsumer struct {
	c    *redisClient
	name string
}

func (c redisConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	for ctx.Err() == nil {
		got, err := c.c.read(bg, "q", "g", c.name, limit, 50*time.Millisecond)
		if err != nil || len(got) > 0 {
			return got, err
		}
	}
	return nil, nil
}

func (c redisConsumer) Ack(messages []Message) error { return c.c.settle("q", messages) }

func (c redisConsumer) Close() error { return nil }

type redisVisibility struct{ *redisClient }

func openRedisVisibility(e Env) (Visibility, error) {
	c, err := openRedis(e)
	if err != nil {
		return nil, err
	}
	return redisVisibility{c}, c.group("q")
}

func (v redisVisibility) Send(bodies [][]byte, _ int) error { return v.add("q", bodies) }

func (v redisVisibility) Receive(limit int) ([]Message, error) {
	return v.read(bg, "q", "g", "c", limit, -1)
}

func (v redisVisibility) Delete(messages []Message) error { return v.settle("q", messages) }

// redisFanout adds to all streams in one transaction.
type redisFanout struct {
	*redisClient
	queues int
}

func openRedisFanout(e Env) (Fanout, error) {
	c, err := openRedis(e)
	return &redisFanout{redisClient: c}, err
}

func (f *redisFanout) Bind(queues int) error { f.queues = queues; return nil }

func (f *redisFanout) Publish(body []byte) error {
	_, err := f.TxPipelined(bg, func(p redis.Pipeliner) error {
		for i := range f.queues {
			p.XAdd(bg, &redis.XAddArgs{Stream: queueName(i), Values: []any{"b", body}})
		}
		return nil
	})
	return err
}

func (f *redisFanout) Take(queue int) ([]byte, error) {
	got, err := f.XRangeN(bg, queueName(queue), "-", "+", 1).Result()
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return redisBody(got[0]), f.XDel(bg, queueName(queue), got[0].ID).Err()
}

type redisDedupe struct{ *redisClient }

func openRedisDedupe(e Env) (Dedupe, error) {
	c, err := openRedis(e)
	return redisDedupe{c}, err
}

func redisKey(key []byte) string { return "k:" + hex.EncodeToString(key) }

func (d redisDedupe) Fill(keys [][]byte, result []byte) error {
	p := d.Pipeline()
	for _, k := range keys {
		p.Set(bg, redisKey(k), result, 0)
	}
	_, err := p.Exec(bg)
	return err
}

func (d redisDedupe) Once(key, result []byte) (bool, []byte, error) {
	found, err := d.SetArgs(bg, redisKey(key), result, redis.SetArgs{Mode: "NX", Get: true}).Result()
	if errors.Is(err, redis.Nil) {
		return true, result, nil
	}
	return false, []byte(found), err
}

// redisTx is a script, which Redis carries out as one.
type redisTx struct{ *redisClient }

var redisScript = redis.NewScript(`
	if not redis.call('SET', KEYS[1], '', 'NX') then return redis.error_reply('the key is there') end
	redis.call('SET', KEYS[2], ARGV[1])
	redis.call('XADD', KEYS[3], '*', 'b', ARGV[1])
	redis.call('XADD', KEYS[4], '*', 'b', ARGV[1])
	redis.call('XACK', KEYS[4], 'g', ARGV[2])
	return redis.call('XDEL', KEYS[4], ARGV[2])`)

func openRedisTx(e Env) (Tx, error) {
	c, err := openRedis(e)
	return redisTx{c}, err
}

func (t redisTx) Worker(n int) (func(int, []byte) error, error) {
	queue, state := queueName(n), fmt.Sprintf("state:%d", n)
	if err := errors.Join(t.group(queue), t.add(queue, [][]byte{[]byte("first")})); err != nil {
		return nil, err
	}
	return func(i int, record []byte) error {
		got, err := t.read(bg, queue, "g", "c", 1, -1)
		if err != nil || len(got) != 1 {
			return errors.Join(err, fmt.Errorf("%d messages are waiting", len(got)))
		}
		keys := []string{redisKey(key(byte(n), uint64(i))), state, "log", queue}
		return redisScript.Run(bg, t.Client, keys, record, got[0].handle).Err()
	}, nil
}

func (t redisTx) Check() (records, keys, waiting int, err error) {
	length, err := t.XLen(bg, "log").Result()
	if err != nil {
		return 0, 0, 0, err
	}
	all, err := t.DBSize(bg).Result()
	queues, e := t.Keys(bg, "q*").Result()
	for _, q := range queues {
		n, e := t.XLen(bg, q).Result()
		err = errors.Join(err, e)
		waiting += int(n)
	}
	states, e2 := t.Keys(bg, "state:*").Result()
	return int(length), int(all) - len(queues) - len(states) - 1, waiting, errors.Join(err, e, e2)
}
