package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/pebblemq/pebblemq/admin/internal/shop"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

var ctx = context.Background()

// client is a browser without JavaScript.
type client struct {
	t       testing.TB
	handler http.Handler
	cookies map[string]*http.Cookie
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (c *client) do(method, target string, header http.Header, body string) answer {
	c.t.Helper()
	r := httptest.NewRequestWithContext(ctx, method, "http://localhost"+target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1234"
	return c.serve(r, header)
}

// from asks for the first page from somewhere else.
func (c *client) from(remote, host, forwarded string) answer {
	c.t.Helper()
	r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	r.RemoteAddr, r.Host = remote, host
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	return c.serve(r, nil)
}

func (c *client) serve(r *http.Request, header http.Header) answer {
	c.t.Helper()
	for name, values := range header {
		r.Header[name] = values
	}
	for _, cookie := range c.cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	for _, cookie := range w.Result().Cookies() {
		c.cookies[cookie.Name] = cookie
	}
	text, err := io.ReadAll(w.Result().Body)
	require.NoError(c.t, err)
	return answer{w.Code, w.Header(), string(text)}
}

func (c *client) get(target string) answer {
	c.t.Helper()
	return c.do("GET", target, nil, "")
}

// read returns the JSON of the API.
func (c *client) read(target string) map[string]any {
	c.t.Helper()
	a := c.get("/api/v1" + target)
	require.Equal(c.t, 200, a.status, a.body)
	require.Equal(c.t, "application/json", a.header.Get("Content-Type"))
	var v map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(a.body), &v))
	return v
}

// call makes a change by JSON.
func (c *client) call(target string, parameters map[string]any) answer {
	c.t.Helper()
	body, err := json.Marshal(parameters)
	require.NoError(c.t, err)
	return c.do("POST", "/api/v1"+target, http.Header{"Content-Type": {"application/json"}}, string(body))
}

var tokenInPage = regexp.MustCompile(`name="csrf" value="([0-9a-f]+)"`)

// send makes a change by a form of a page.
func (c *client) send(page, target string, fields url.Values) answer {
	c.t.Helper()
	m := tokenInPage.FindStringSubmatch(c.get(page).body)
	require.NotNil(c.t, m, "page %s has a form", page)
	form := url.Values{"csrf": {m[1]}}
	for name, values := range fields {
		form[name] = values
	}
	return c.do("POST", target, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode())
}

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, o *admin.Options) (*client, *pebblemq.DB) {
	t.Helper()
	db := storetest.Open(t, &pebblemq.Options{Logger: quiet})
	require.NoError(t, shop.Fill(ctx, db))
	return &client{t, admin.Handler(db, o), make(map[string]*http.Cookie)}, db
}

// pages are all that a person can open in the shop.
var pages = []string{
	"/", "/topics", "/topics?sort=-lag&filter=ord", "/topics/orders", "/topics/orders/records", "/topics/orders/records?from=end&partition=1&filter=paid",
	"/topics/orders/records/0/0", "/topics/orders/groups/billing", "/topics/orders/groups/billing/seek?to=start",
	"/brokers", "/brokers/main", "/queues", "/queues?kind=visibility", "/brokers/main/queues/emails", "/brokers/main/queues/emails/messages",
	"/brokers/main/queues/emails/messages?state=ready&filter=customer-1", "/brokers/main/queues/emails/leases",
	"/brokers/main/queues/invoices.dead", "/brokers/main/queues/invoices.dead/deaths", "/brokers/main/queues/invoices.dead/messages",
	"/brokers/main/queues/" + url.PathEscape(shop.HostileQueue), "/brokers/main/queues/" + url.PathEscape(shop.HostileQueue) + "/messages",
	"/visibility/parcels", "/visibility/parcels/messages", "/visibility/parcels/leases", "/visibility/parcels/deaths", "/visibility/mail/messages?state=delayed",
	"/idempotency", "/idempotency/requests", "/idempotency/requests?prefix=req-00", "/idempotency/requests/keys/req-001",
}

func TestEveryPageOpensAlsoBelowABasePath(t *testing.T) {
	for _, base := range []string{"", "/ops/admin"} {
		c, _ := open(t, &admin.Options{BasePath: base})
		for _, page := range pages {
			a := c.get(base + page)
			require.Equal(t, 200, a.status, "%s: %s", page, a.body)
			require.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
			for _, link := range regexp.MustCompile(`(?:href|action|src)="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
				require.True(t, strings.HasPrefix(link[1], base+"/") || strings.HasPrefix(link[1], "#"), "%s links to %s", page, link[1])
			}
			require.NotContains(t, a.body, "<no value>")
			require.NotContains(t, a.body, "ZgotmplZ", page)
		}
	}
}

func TestEveryLinkLeadsToAPage(t *testing.T) {
	c, _ := open(t, nil)
	seen := map[string]bool{"/": true}
	for queue := []string{"/"}; len(queue) > 0 && len(seen) < 600; queue = queue[1:] {
		a := c.get(queue[0])
		require.Equal(t, 200, a.status, "%s: %s", queue[0], a.body)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue
		}
		for _, link := range regexp.MustCompile(`href="(/[^"]*)"`).FindAllStringSubmatch(a.body, -1) {
			target := strings.ReplaceAll(link[1], "&amp;", "&")
			if !seen[target] && strings.Count(target, "&") < 2 {
				seen[target] = true
				queue = append(queue, target)
			}
		}
	}
	require.Greater(t, len(seen), 100)
}
