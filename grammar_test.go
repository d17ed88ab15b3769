package pebblemq_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// grammar is which method says what, in each package. A user of one package can guess the verbs
// of the others; "" is a thing that a package does not have.
var grammar = []struct{ what, topic, group, broker, queue, visibility, namespace string }{
	{"what is known", "Info", "Info", "Info", "Info", "Info", "Info"},
	{"its name", "Name", "Name", "Name", "Name", "Name", "Name"},
	{"change it", "Alter", "Alter", "", "Alter", "Alter", "Alter"},
	{"remove it", "Delete", "Delete", "", "Delete", "DeleteQueue", "Delete"},
	{"in a transaction", "In", "", "In", "In", "In", "In"},
	{"put", "Append", "", "Publish", "", "Send", ""},
	{"put, several", "Append", "", "PublishBatch", "", "SendBatch", ""},
	{"put, wait later", "AppendAsync", "", "PublishAsync", "", "SendAsync", ""},
	{"handle each", "", "Run", "", "Run", "Run", ""},
	{"handle batches", "", "RunBatch", "", "RunBatch", "RunBatch", ""},
	{"look at all", "", "", "", "Browse", "Browse", "Entries"},
	{"look one up", "", "", "", "Find", "Find", "Find"},
	{"look at a place", "", "", "", "Peek", "Peek", ""},
	{"empty it", "", "", "", "Purge", "Purge", ""},
	{"cancel what is delayed", "", "", "", "Cancel", "Cancel", ""},
	{"move dead letters", "", "", "", "Redrive", "Redrive", ""},
}

// handles are the types of the columns of the grammar.
var handles = map[string]reflect.Type{
	"topic": reflect.TypeFor[*log.Topic](), "group": reflect.TypeFor[*log.Group](),
	"broker": reflect.TypeFor[*workqueue.Broker](), "queue": reflect.TypeFor[*workqueue.Queue](),
	"visibility": reflect.TypeFor[*visibility.Queue](), "namespace": reflect.TypeFor[*idempotency.Namespace](),
}

func TestEachPackageHasTheVerbsOfTheGrammar(t *testing.T) {
	for _, row := range grammar {
		for column, verb := range map[string]string{
			"topic": row.topic, "group": row.group, "broker": row.broker, "queue": row.queue,
			"visibility": row.visibility, "namespace": row.namespace,
		} {
			if verb == "" {
				continue
			}
			_, has := handles[column].MethodByName(verb)
			require.True(t, has, "%s: %v has no %s", row.what, handles[column], verb)
		}
	}
}

// TestVerbsHaveTheSameShape reads every method that users can call: a context comes first,
// configurations and options are pointers and come last, an error is the last result, and a verb of a
// transaction has no context.
func TestVerbsHaveTheSameShape(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[*pebblemq.DB](), reflect.TypeFor[*pebblemq.Tx](),
		reflect.TypeFor[*log.Member](), reflect.TypeFor[*log.Reader](), reflect.TypeFor[*workqueue.Consumer](),
		reflect.TypeFor[*workqueue.Delivery](), reflect.TypeFor[*workqueue.Caller](), reflect.TypeFor[*visibility.Redrive](),
		reflect.TypeFor[log.TopicTx](), reflect.TypeFor[log.MemberTx](), reflect.TypeFor[workqueue.BrokerTx](), reflect.TypeFor[workqueue.QueueTx](),
		reflect.TypeFor[visibility.QueueTx](), reflect.TypeFor[idempotency.Tx](), reflect.TypeFor[idempotency.ClaimTx](),
	}
	for _, handle := range handles {
		types = append(types, handle)
	}
	for _, handle := range types {
		for i := range handle.NumMethod() {
			m := handle.Method(i)
			checkShape(t, handle.String()+"."+m.Name, m.Type, 1, strings.HasSuffix(handle.Name(), "Tx"))
		}
	}
	for name, f := range map[string]any{
		"log.OpenTopic": log.OpenTopic, "log.EnsureTopic": log.EnsureTopic, "log.LookupTopic": log.LookupTopic, "log.Topics": log.Topics,
		"workqueue.OpenBroker": workqueue.OpenBroker, "workqueue.LookupBroker": workqueue.LookupBroker, "workqueue.Brokers": workqueue.Brokers,
		"visibility.OpenQueue": visibility.OpenQueue, "visibility.EnsureQueue": visibility.EnsureQueue,
		"visibility.LookupQueue": visibility.LookupQueue, "visibility.Queues": visibility.Queues,
		"idempotency.OpenNamespace": idempotency.OpenNamespace, "idempotency.EnsureNamespace": idempotency.EnsureNamespace,
		"idempotency.LookupNamespace": idempotency.LookupNamespace, "idempotency.Namespaces": idempotency.Namespaces,
	} {
		f := reflect.TypeOf(f)
		require.Equal(t, reflect.TypeFor[context.Context](), f.In(0), name)
		require.Equal(t, reflect.TypeFor[*pebblemq.DB](), f.In(1), name)
		checkShape(t, name, f, 0, false)
	}
}

func checkShape(t *testing.T, name string, f reflect.Type, from int, inTx bool) {
	t.Helper()
	ctx, failure := reflect.TypeFor[context.Context](), reflect.TypeFor[error]()
	for i := from; i < f.NumIn(); i++ {
		p := f.In(i)
		if p == ctx {
			require.Equal(t, from, i, "%s: the context comes first", name)
			require.False(t, inTx, "%s: a verb of a transaction has no context", name)
		}
		if f.IsVariadic() { // what is put comes last then, and options before it
			continue
		}
		if strings.HasSuffix(p.Name(), "Config") || strings.HasSuffix(p.Name(), "Options") {
			t.Errorf("%s takes %v by value", name, p)
		}
		if p.Kind() == reflect.Pointer && strings.HasSuffix(p.Elem().Name(), "Options") {
			require.Equal(t, f.NumIn()-1, i, "%s: options come last", name)
		}
	}
	for i := range f.NumOut() - 1 {
		require.NotEqual(t, failure, f.Out(i), "%s: the error comes last", name)
	}
}

// sort is how objects of one sort are opened, and what they are then asked.
type sort struct {
	open   func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error
	ensure func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (pebblemq.Ensured, error)
	lookup func(ctx context.Context, db *pebblemq.DB, name string) (object, error)
	list   func(ctx context.Context, db *pebblemq.DB) (names []string, err error)
	alters string // the verb that errors name
	field  string // that differs
}

// object is what was opened, with its type left out.
type object struct {
	info   func(ctx context.Context) (name string, err error)
	alter  func(ctx context.Context, differs bool) error
	remove func(ctx context.Context) error
}

// given returns a configuration, or nil, which is "as it is stored".
func given[C any](differs bool, c C) *C {
	if !differs {
		return nil
	}
	return &c
}

func names[I any](list []I, err error, name func(I) string) ([]string, error) {
	var all []string
	for _, info := range list {
		all = append(all, name(info))
	}
	return all, err
}

// broker is where the work queues of the tests are.
func broker(ctx context.Context, db *pebblemq.DB) (*workqueue.Broker, error) {
	return workqueue.OpenBroker(ctx, db, "main")
}

// orders is the topic of the groups.
func orders(ctx context.Context, db *pebblemq.DB) (*log.Topic, error) {
	return log.OpenTopic(ctx, db, "orders", nil)
}

var sorts = map[string]sort{
	"topic": {
		open: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error {
			_, err := log.OpenTopic(ctx, db, name, given(differs, log.TopicConfig{Partitions: 2}))
			return err
		},
		ensure: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (pebblemq.Ensured, error) {
			_, did, err := log.EnsureTopic(ctx, db, name, given(differs, log.TopicConfig{Partitions: 2}))
			return did, err
		},
		lookup: func(ctx context.Context, db *pebblemq.DB, name string) (object, error) {
			x, err := log.LookupTopic(ctx, db, name)
			return object{
				info: func(ctx context.Context) (string, error) { info, err := x.Info(ctx); return info.Name, err },
				alter: func(ctx context.Context, differs bool) error {
					return x.Alter(ctx, given(differs, log.TopicConfig{Partitions: 2}))
				},
				remove: func(ctx context.Context) error { return x.Delete(ctx) },
			}, err
		},
		list: func(ctx context.Context, db *pebblemq.DB) ([]string, error) {
			list, err := log.Topics(ctx, db)
			return names(list, err, func(i log.TopicInfo) string { return i.Name })
		},
		alters: "EnsureTopic", field: "Partitions 1, not 2",
	},
	"group": {
		open: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error {
			topic, err := orders(ctx, db)
			if err == nil {
				_, err = topic.OpenGroup(ctx, name, given(differs, log.GroupConfig{From: log.End()}))
			}
			return err
		},
		ensure: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (did pebblemq.Ensured, err error) {
			topic, err := orders(ctx, db)
			if err == nil {
				_, did, err = topic.EnsureGroup(ctx, name, given(differs, log.GroupConfig{From: log.End()}))
			}
			return did, err
		},
		lookup: func(ctx context.Context, db *pebblemq.DB, name string) (object, error) {
			topic, err := orders(ctx, db)
			if err != nil {
				return object{}, err
			}
			x, err := topic.LookupGroup(ctx, name)
			return object{
				info: func(ctx context.Context) (string, error) { info, err := x.Info(ctx); return info.Name, err },
				alter: func(ctx context.Context, differs bool) error {
					return x.Alter(ctx, given(differs, log.GroupConfig{From: log.End()}))
				},
				remove: func(ctx context.Context) error { return x.Delete(ctx) },
			}, err
		},
		list: func(ctx context.Context, db *pebblemq.DB) ([]string, error) {
			topic, err := orders(ctx, db)
			if err != nil {
				return nil, err
			}
			list, err := topic.Groups(ctx)
			return names(list, err, func(i log.GroupInfo) string { return i.Name })
		},
		alters: "EnsureGroup", field: "From start",
	},
	"work queue": {
		open: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error {
			b, err := broker(ctx, db)
			if err == nil {
				_, err = b.DeclareQueue(ctx, name, given(differs, workqueue.QueueConfig{MaxLength: 2}))
			}
			return err
		},
		ensure: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (did pebblemq.Ensured, err error) {
			b, err := broker(ctx, db)
			if err == nil {
				_, did, err = b.EnsureQueue(ctx, name, given(differs, workqueue.QueueConfig{MaxLength: 2}))
			}
			return did, err
		},
		lookup: func(ctx context.Context, db *pebblemq.DB, name string) (object, error) {
			b, err := broker(ctx, db)
			if err != nil {
				return object{}, err
			}
			x, err := b.Queue(ctx, name)
			return object{
				info: func(ctx context.Context) (string, error) { info, err := x.Info(ctx); return info.Name, err },
				alter: func(ctx context.Context, differs bool) error {
					return x.Alter(ctx, given(differs, workqueue.QueueConfig{MaxLength: 2}))
				},
				remove: func(ctx context.Context) error { return x.Delete(ctx) },
			}, err
		},
		list: func(ctx context.Context, db *pebblemq.DB) ([]string, error) {
			b, err := broker(ctx, db)
			if err != nil {
				return nil, err
			}
			list, err := b.Queues(ctx)
			return names(list, err, func(i workqueue.QueueInfo) string { return i.Name })
		},
		alters: "EnsureQueue", field: "MaxLength 0, not 2",
	},
	"visibility queue": {
		open: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error {
			_, err := visibility.OpenQueue(ctx, db, name, given(differs, visibility.QueueConfig{MaxInFlight: 2}))
			return err
		},
		ensure: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (pebblemq.Ensured, error) {
			_, did, err := visibility.EnsureQueue(ctx, db, name, given(differs, visibility.QueueConfig{MaxInFlight: 2}))
			return did, err
		},
		lookup: func(ctx context.Context, db *pebblemq.DB, name string) (object, error) {
			x, err := visibility.LookupQueue(ctx, db, name)
			return object{
				info: func(ctx context.Context) (string, error) { info, err := x.Info(ctx); return info.Name, err },
				alter: func(ctx context.Context, differs bool) error {
					return x.Alter(ctx, given(differs, visibility.QueueConfig{MaxInFlight: 2}))
				},
				remove: func(ctx context.Context) error { return x.DeleteQueue(ctx) },
			}, err
		},
		list: func(ctx context.Context, db *pebblemq.DB) ([]string, error) {
			list, err := visibility.Queues(ctx, db)
			return names(list, err, func(i visibility.QueueInfo) string { return i.Name })
		},
		alters: "EnsureQueue", field: "MaxInFlight 0, not 2",
	},
	"namespace": {
		open: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) error {
			_, err := idempotency.OpenNamespace(ctx, db, name, given(differs, idempotency.Config{MaxResultBytes: 2}))
			return err
		},
		ensure: func(ctx context.Context, db *pebblemq.DB, name string, differs bool) (pebblemq.Ensured, error) {
			_, did, err := idempotency.EnsureNamespace(ctx, db, name, given(differs, idempotency.Config{MaxResultBytes: 2}))
			return did, err
		},
		lookup: func(ctx context.Context, db *pebblemq.DB, name string) (object, error) {
			x, err := idempotency.LookupNamespace(ctx, db, name)
			return object{
				info: func(ctx context.Context) (string, error) { info, err := x.Info(ctx); return info.Name, err },
				alter: func(ctx context.Context, differs bool) error {
					return x.Alter(ctx, given(differs, idempotency.Config{MaxResultBytes: 2}))
				},
				remove: func(ctx context.Context) error { return x.Delete(ctx) },
			}, err
		},
		list: func(ctx context.Context, db *pebblemq.DB) ([]string, error) {
			list, err := idempotency.Namespaces(ctx, db)
			return names(list, err, func(i idempotency.NamespaceInfo) string { return i.Name })
		},
		alters: "EnsureNamespace", field: "MaxResultBytes 1048576, not 2",
	},
}

// Objects of all packages are opened, ensured, altered, listed and deleted in one way.
func TestObjectsOfAllPackagesBehaveAlike(t *testing.T) {
	for kind, s := range sorts {
		t.Run(kind, func(t *testing.T) {
			db := storetest.Open(t, nil)
			_, err := s.lookup(bg, db, "x")
			require.ErrorIs(t, err, pebblemq.ErrNotFound, "unknown")
			require.ErrorContains(t, err, `"x"`)
			require.NoError(t, s.open(bg, db, "x", false), "created by a nil config")
			require.NoError(t, s.open(bg, db, "x", false), "opened by a nil config")
			err = s.open(bg, db, "x", true)
			require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
			require.ErrorContains(t, err, s.field)
			require.ErrorContains(t, err, s.alters)
			did, err := s.ensure(bg, db, "x", true)
			require.NoError(t, err)
			require.Len(t, did.Altered, 1)
			require.False(t, did.Created)
			did, err = s.ensure(bg, db, "x", true)
			require.NoError(t, err)
			require.True(t, did.Unchanged())
			did, err = s.ensure(bg, db, "x", false)
			require.NoError(t, err)
			require.True(t, did.Unchanged(), "nil is as it is")
			require.NoError(t, s.open(bg, db, "x", true))
			did, err = s.ensure(bg, db, "y", false)
			require.NoError(t, err)
			require.True(t, did.Created)
			list, err := s.list(bg, db)
			require.NoError(t, err)
			require.Equal(t, []string{"x", "y"}, list)

			x, err := s.lookup(bg, db, "y")
			require.NoError(t, err)
			name, err := x.info(bg)
			require.NoError(t, err)
			require.Equal(t, "y", name)
			require.NoError(t, x.alter(bg, true))
			require.NoError(t, s.open(bg, db, "y", true))
			require.NoError(t, x.remove(bg))
			_, err = x.info(bg)
			require.ErrorIs(t, err, pebblemq.ErrDeleted)
			require.ErrorIs(t, x.alter(bg, true), pebblemq.ErrDeleted)
			require.ErrorIs(t, x.remove(bg), pebblemq.ErrDeleted)
			_, err = s.lookup(bg, db, "y")
			require.ErrorIs(t, err, pebblemq.ErrNotFound)
		})
	}
}

// A name, a context and a store that are no good are refused by all of them with the same errors.
func TestBadNamesContextsAndStoresAreRefusedAlike(t *testing.T) {
	ended, cancel := context.WithCancel(bg)
	cancel()
	var none context.Context
	for kind, s := range sorts {
		t.Run(kind, func(t *testing.T) {
			db, err := pebblemq.OpenMemory(nil)
			require.NoError(t, err)
			require.NoError(t, s.open(bg, db, "x", false))
			x, err := s.lookup(bg, db, "x")
			require.NoError(t, err)
			calls := func(ctx context.Context, name string) map[string]error {
				_, ensured := s.ensure(ctx, db, name, true)
				_, looked := s.lookup(ctx, db, name)
				return map[string]error{"open": s.open(ctx, db, name, true), "ensure": ensured, "lookup": looked}
			}
			own := func(ctx context.Context) map[string]error {
				_, listed := s.list(ctx, db)
				_, told := x.info(ctx)
				return map[string]error{"list": listed, "info": told, "alter": x.alter(ctx, true), "delete": x.remove(ctx)}
			}
			all := func(want error, lists ...map[string]error) {
				t.Helper()
				for _, list := range lists {
					for verb, err := range list {
						require.ErrorIs(t, err, want, verb)
					}
				}
			}
			for _, name := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 256)} {
				for verb, err := range calls(bg, name) {
					require.Error(t, err, "%s of %q", verb, name)
					if len(name) > 255 {
						require.ErrorIs(t, err, pebblemq.ErrTooLarge, verb)
						continue
					}
					require.ErrorIs(t, err, pebblemq.ErrInvalid, "%s of %q", verb, name)
				}
			}
			all(context.Canceled, calls(ended, "x"), own(ended))
			all(pebblemq.ErrInvalid, calls(none, "x"), own(none))
			require.NoError(t, db.Close())
			all(pebblemq.ErrClosed, calls(bg, "x"), own(bg))
		})
	}
}
