package admin_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/pebblemq/pebblemq/admin/internal/shop"
	"github.com/pebblemq/pebblemq/log"
)

const (
	emails = "/brokers/main/queues/emails"
	dead   = "/brokers/main/queues/invoices.dead"
)

// position returns where the one message that a search finds is.
func (c *client) position(messages string) string {
	c.t.Helper()
	list := c.read(messages)["messages"].([]any)
	require.Len(c.t, list, 1, messages)
	return list[0].(map[string]any)["position"].(string)
}

func TestChangesDoWhatTheySay(t *testing.T) {
	type change struct {
		page, target string
		fields       url.Values
		back         string
		show         string // an object
		want         map[string]any
	}
	for name, make := range map[string]func(c *client) change{
		"put": func(*client) change {
			return change{emails, emails + "/put", url.Values{"body": {"hi"}, "id": {"new"}, "headers": {"a: b"}}, emails, emails, map[string]any{"ready": 152.0}}
		},
		"put, delayed": func(*client) change {
			return change{emails, emails + "/put", url.Values{"body": {"aGk="}, "base64": {"true"}, "delay": {"1h"}}, emails, emails, map[string]any{"delayed": 1.0}}
		},
		"send": func(*client) change {
			return change{"/visibility/mail", "/visibility/mail/put", url.Values{"body": {"hi"}}, "/visibility/mail", "/visibility/mail", map[string]any{"ready": 1.0}}
		},
		"purge": func(*client) change {
			return change{emails, emails + "/purge", url.Values{"confirm": {"yes"}}, emails, emails, map[string]any{"ready": 0.0}}
		},
		"purge of a visibility queue": func(*client) change {
			return change{"/visibility/mail", "/visibility/mail/purge", nil, "/visibility/mail", "/visibility/mail", map[string]any{"delayed": 0.0}}
		},
		"pause": func(*client) change {
			return change{emails, emails + "/pause", nil, emails, emails, map[string]any{"paused": true}}
		},
		"resume": func(c *client) change {
			require.Equal(c.t, 200, c.call(emails+"/pause", nil).status)
			return change{emails, emails + "/resume", nil, emails, emails, map[string]any{"paused": false}}
		},
		"cancel": func(c *client) change {
			q := "/brokers/main/queues/thumbnails"
			return change{q, q + "/messages/" + c.position(q+"/messages?state=delayed") + "/cancel", nil, q + "/messages", q, map[string]any{"delayed": 0.0}}
		},
		"cancel in a visibility queue": func(c *client) change {
			q := "/visibility/mail"
			return change{q, q + "/messages/" + c.position(q+"/messages") + "/cancel", nil, q + "/messages", q, map[string]any{"delayed": 0.0}}
		},
		"redrive by error": func(*client) change {
			return change{dead + "/deaths", dead + "/redrive", url.Values{"error": {"refused"}}, dead + "/deaths", "/brokers/main/queues/invoices", map[string]any{"ready": 8.0}}
		},
		"redrive to another queue": func(*client) change {
			return change{dead + "/deaths", dead + "/redrive", url.Values{"to": {"thumbnails"}}, dead + "/deaths", "/brokers/main/queues/thumbnails", map[string]any{"ready": 9.0}}
		},
		"seek": func(*client) change {
			g := "/topics/orders/groups/billing"
			return change{g + "/seek?to=end", g + "/seek", url.Values{"to": {"end"}, "partition": {""}}, g, g, map[string]any{"lag": 0.0}}
		},
		"seek to an offset of one partition": func(*client) change {
			g := "/topics/orders/groups/search"
			return change{g + "/seek?to=offset&offset=3&partition=1", g + "/seek", url.Values{"to": {"offset"}, "offset": {"3"}, "partition": {"1"}}, g, g, map[string]any{"lag": 600.0}}
		},
		"forget": func(*client) change {
			n := "/idempotency/requests"
			return change{n + "/keys/req-001", n + "/keys/req-001/forget", nil, n, n + "?prefix=req-001", map[string]any{"more": false, "keys": []any{}}}
		},
		"a queue with a hostile name": func(*client) change {
			q := "/brokers/main/queues/" + url.PathEscape(shop.HostileQueue)
			return change{q, q + "/purge", nil, q, q, map[string]any{"ready": 0.0}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, &admin.Options{Logger: quiet})
			do := make(c)
			a := c.send(do.page, do.target, do.fields)
			require.Equal(t, 303, a.status, a.body)
			back, err := url.Parse(a.header.Get("Location"))
			require.NoError(t, err)
			want, err := url.Parse(do.back)
			require.NoError(t, err)
			require.Equal(t, want.Path, back.Path)
			require.Contains(t, c.get(back.EscapedPath()).body, `class="notice" role="status"`)
			require.NotContains(t, c.get(back.EscapedPath()).body, `class="notice" role="status"`, "the notice is shown once")
			require.Eventually(t, func() bool {
				got := c.read(do.show)
				for key, value := range do.want {
					if fmt.Sprint(got[key]) != fmt.Sprint(value) {
						return false
					}
				}
				return true
			}, 10*time.Second, 10*time.Millisecond, "%v", c.read(do.show))
		})
	}
}

func TestAnswersOfTheAPIAreAsTheFileSays(t *testing.T) {
	c, _ := open(t, &admin.Options{Logger: quiet})
	for pattern, target := range map[string]string{
		"/overview": "/overview", "/topics": "/topics?size=1", "/topics/{topic}": "/topics/orders", "/topics/{topic}/records": "/topics/orders/records",
		"/topics/{topic}/records/{partition}/{offset}": "/topics/orders/records/0/0",
		"/topics/{topic}/groups/{group}":               "/topics/orders/groups/billing",
		"/topics/{topic}/groups/{group}/seek":          "/topics/orders/groups/billing/seek?to=start",
		"/brokers":                                     "/brokers",
		"/brokers/{broker}":                            "/brokers/main",
		"/queues":                                      "/queues",
		"/brokers/{broker}/queues/{queue}":             dead,
		"/brokers/{broker}/queues/{queue}/messages":    dead + "/messages",
		"/brokers/{broker}/queues/{queue}/deaths":      dead + "/deaths",
		"/brokers/{broker}/queues/{queue}/leases":      emails + "/leases",
		"/visibility/{queue}":                          "/visibility/parcels",
		"/visibility/{queue}/messages":                 "/visibility/mail/messages",
		"/visibility/{queue}/messages/{position}":      "/visibility/mail/messages/" + c.position("/visibility/mail/messages"),
		"/visibility/{queue}/leases":                   "/visibility/parcels/leases",
		"/visibility/{queue}/deaths":                   "/visibility/parcels/deaths",
		"/idempotency":                                 "/idempotency",
		"/idempotency/{namespace}":                     "/idempotency/requests",
		"/idempotency/{namespace}/keys/{key}":          "/idempotency/requests/keys/req-002",
	} {
		a := c.get("/api/v1" + target)
		require.Equal(t, 200, a.status, a.body)
		admin.CheckAnswer(t, "GET", "/api/v1"+pattern, a.body)
	}
	for pattern, target := range map[string]string{
		"/brokers/{broker}/queues/{queue}/pause": emails + "/pause", "/brokers/{broker}/queues/{queue}/purge": emails + "/purge",
		"/brokers/{broker}/queues/{queue}/redrive": dead + "/redrive",
	} {
		a := c.call(target, nil)
		require.Equal(t, 200, a.status, a.body)
		admin.CheckAnswer(t, "POST", "/api/v1"+pattern, a.body)
	}
	require.Equal(t, "3.1.0", c.read("/openapi.json")["openapi"])
}

func TestBadInputIsExplained(t *testing.T) {
	c, _ := open(t, &admin.Options{Logger: quiet})
	for target, want := range map[string]struct {
		status int
		text   string
	}{
		"/topics?sort=color":                 {400, "not one of name, partitions"},
		"/topics?size=5000":                  {400, "not between 1 and 1000"},
		"/topics?page=x":                     {400, "invalid syntax"},
		"/topics?pgae=1":                     {400, "unknown parameter"},
		"/topics/none":                       {404, "none"},
		"/topics/orders/records?partition=9": {404, "partition 9"},
		"/topics/orders/records?from=offset&offset=9999":        {400, "out of range"},
		"/topics/orders/records?from=middle":                    {400, "not one of start, end"},
		"/topics/orders/records/0/9999":                         {400, "out of range"},
		"/topics/orders/groups/none":                            {404, "none"},
		"/topics/orders/groups/billing/seek":                    {400, "to is missing"},
		"/topics/orders/groups/billing/seek?to=time":            {400, "needs a time"},
		"/topics/orders/groups/billing/seek?to=time&time=now":   {400, "not a time"},
		"/topics/orders/groups/billing/seek?to=end&partition=7": {404, "no partition 7"},
		"/brokers/main/queues/none":                             {404, "none"},
		emails + "/messages?after=nonsense":                     {400, "nonsense"},
		"/idempotency/requests/keys/none":                       {404, "has no key"},
		"/idempotency/requests?prefix=0xzz":                     {400, "0xzz"},
	} {
		a := c.get("/api/v1" + target)
		require.Equal(t, want.status, a.status, "%s: %s", target, a.body)
		require.Contains(t, a.body, want.text, target)
		require.Contains(t, a.body, `{"error":`, target)
		require.Equal(t, want.status, c.get(target).status, target)
	}
	for target, body := range map[string]map[string]any{
		emails + "/put?":          {"body": "%%%", "base64": true},
		emails + "/put":           {"group": "g"},
		emails + "/put?x":         {"priority": 256},
		"/visibility/parcels/put": {"body": "without a group"},
		dead + "/redrive":         {"rate": -1},
		dead + "/redrive?":        {"unknown": 1},
	} {
		require.Equal(t, 400, c.call(target, body).status, target)
	}
	require.Equal(t, 404, c.call(dead+"/redrives/9/cancel", nil).status)
	require.Equal(t, 404, c.call(emails+"/messages/"+c.position(emails+"/messages?id=mail-1")+"/cancel", nil).status)
}

func TestHealthSaysWhyNot(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	c := &client{t, admin.Handler(db, nil), make(map[string]*http.Cookie)}
	a := c.get("/health")
	require.Equal(t, 200, a.status)
	require.Contains(t, a.body, `"ok":true`)
	require.NoError(t, db.Close())
	a = c.get("/health")
	require.Equal(t, 503, a.status)
	require.Contains(t, a.body, "closed")
	require.Equal(t, 503, c.get("/").status)
}

func TestACheckpointOpensAsAStore(t *testing.T) {
	dir := t.TempDir()
	db, err := pebblemq.Open(filepath.Join(dir, "store"), &pebblemq.Options{Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, shop.Fill(ctx, db))
	c := &client{t, admin.Handler(db, &admin.Options{TempDir: dir, Logger: quiet}), make(map[string]*http.Cookie)}
	a := c.send("/", "/api/v1/checkpoint", nil)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, "application/x-tar", a.header.Get("Content-Type"))
	require.NoError(t, db.Close())
	left, err := filepath.Glob(filepath.Join(dir, "pebblemq-checkpoint-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	extract(t, a.body, filepath.Join(dir, "copy"))
	db, err = pebblemq.Open(filepath.Join(dir, "copy"), nil)
	require.NoError(t, err)
	topic, err := log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	info, err := topic.Info(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 603, info.Kept)
	require.NoError(t, db.Close())
}

func extract(t *testing.T, archive, dir string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader([]byte(archive))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(dir, h.Name)
		if h.FileInfo().IsDir() {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
}
