package log_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// childEnv names the test that a re-executed test binary runs. A failed engine is
// left parked, goroutines and all, so such tests have a process of their own.
const childEnv = "PEBBLEMQ_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// inChild reports whether it runs in the child process of the test; otherwise it
// runs that and waits for it.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

var ctx = context.Background()

var noSync = pebblemq.WithDurability(ctx, pebblemq.NoSync)

func openTopic(t testing.TB, partitions int) (*pebblemq.DB, *log.Topic) {
	t.Helper()
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: partitions})
	require.NoError(t, err)
	return db, topic
}

// values makes keyless records.
func values(vs ...string) []log.Record {
	records := make([]log.Record, len(vs))
	for i, v := range vs {
		records[i].Value = []byte(v)
	}
	return records
}

// numbered makes n records with the values v0, v1 and so on.
func numbered(n int) []log.Record {
	records := make([]log.Record, n)
	for i := range records {
		records[i].Value = fmt.Appendf(nil, "v%d", i)
	}
	return records
}

// tester is a testing.TB or a rapid.T.
type tester interface {
	require.TestingT
	Helper()
}

func appendAll(t tester, topic *log.Topic, records ...log.Record) {
	t.Helper()
	_, err := topic.Append(noSync, records...)
	require.NoError(t, err)
}

// fetchAll returns the values of a partition from an offset to its end.
func fetchAll(t testing.TB, topic *log.Topic, partition int, from log.From) []string {
	t.Helper()
	r, err := topic.NewReader(partition, from)
	require.NoError(t, err)
	got := []string{}
	for {
		found, err := r.Fetch(ctx, 100, 1<<20)
		require.NoError(t, err)
		if len(found) == 0 {
			return got
		}
		got = append(got, valuesOf(found)...)
	}
}

func valuesOf(records []log.Record) []string {
	vs := make([]string, len(records))
	for i, r := range records {
		vs[i] = string(r.Value)
	}
	return vs
}

// alterTopic and deleteTopic look the topic up first.
func alterTopic(db *pebblemq.DB, name string, c log.TopicConfig) error {
	topic, err := log.LookupTopic(ctx, db, name)
	if err != nil {
		return err
	}
	return topic.Alter(ctx, &c)
}

func deleteTopic(db *pebblemq.DB, name string) error {
	topic, err := log.LookupTopic(ctx, db, name)
	if err != nil {
		return err
	}
	return topic.Delete(ctx)
}

// The options of an append, in short.
func into(p int) log.AppendOptions { return log.AppendOptions{Partition: log.InPartition(p)} }

func numberedBy(p int, by *log.Producer, n int64) log.AppendOptions {
	return log.AppendOptions{Partition: log.InPartition(p), Producer: by, Number: n}
}

func openProducer(t testing.TB, topic *log.Topic, name string) *log.Producer {
	t.Helper()
	p, err := topic.OpenProducer(noSync, name)
	require.NoError(t, err)
	return p
}

func expecting(p int, next int64) log.AppendOptions {
	return log.AppendOptions{Partition: log.InPartition(p), ExpectOffset: log.AtOffset(next)}
}

func lastAt(p log.Position) log.AppendOptions { return log.AppendOptions{ExpectLast: log.LastAt(p)} }
