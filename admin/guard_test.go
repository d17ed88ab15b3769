package admin_test

import (
	"bytes"
	"errors"
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
)

// forms are the content types of a change.
var forms = map[string]http.Header{
	"JSON": {"Content-Type": {"application/json"}},
	"form": {"Content-Type": {"application/x-www-form-urlencoded"}},
}

func TestEveryRouteAsksAuthorize(t *testing.T) {
	asked := make(map[string]bool)
	c, _ := open(t, &admin.Options{Logger: quiet, Authorize: func(_ *http.Request, a admin.Action) error {
		asked[a.Name] = a.Change
		return errors.New("not you")
	}})
	for _, rt := range admin.Patterns() {
		a := c.do(rt.Method, rt.Path, forms["JSON"], "{}")
		require.Equal(t, 403, a.status, "%s %s", rt.Method, rt.Path)
		require.Contains(t, a.body, "not you")
		change, ok := asked[rt.Name]
		require.True(t, ok, rt.Name)
		require.Equal(t, rt.Method == "POST", change, rt.Name)
	}
}

func TestEveryChangeIsRefused(t *testing.T) {
	for name, refuse := range map[string]struct {
		options admin.Options
		header  http.Header
		status  int
		text    string
	}{
		"when the page is read-only":               {admin.Options{ReadOnly: true}, forms["JSON"], 403, "read-only"},
		"from another site, by Sec-Fetch-Site":     {admin.Options{}, http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}, 403, "another site"},
		"from another site, by Origin":             {admin.Options{}, http.Header{"Content-Type": {"application/json"}, "Origin": {"https://evil.example"}}, 403, "another site"},
		"by a form without a token":                {admin.Options{}, forms["form"], 403, "too old"},
		"with a type that pages may send anywhere": {admin.Options{}, http.Header{"Content-Type": {"text/plain"}}, 415, "application/json"},
		"without a type":                           {admin.Options{}, nil, 415, "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			refuse.options.Logger = quiet
			c, _ := open(t, &refuse.options)
			for _, rt := range admin.Patterns() {
				if rt.Method != "POST" {
					continue
				}
				body := ""
				if refuse.text == "too old" {
					body = "csrf=" + strings.Repeat("0", 64)
				}
				target := strings.NewReplacer("{redrive}", "1").Replace(rt.Path)
				a := c.do("POST", target, refuse.header, body)
				require.Equal(t, refuse.status, a.status, "%s: %s", rt.Path, a.body)
				require.Contains(t, a.body, refuse.text)
			}
		})
	}
}

func TestAReadOnlyPageHasNoFormThatChanges(t *testing.T) {
	c, _ := open(t, &admin.Options{ReadOnly: true})
	for _, page := range pages {
		require.NotContains(t, c.get(page).body, `method="post"`, page)
	}
}

func TestAGetChangesNothing(t *testing.T) {
	c, db := open(t, nil)
	for _, page := range pages { // which opens what is not open
		c.get(page)
	}
	before := db.Stats().Operations
	for _, page := range pages {
		c.get(page)
	}
	require.Equal(t, before, db.Stats().Operations)
	for _, rt := range admin.Patterns() {
		if rt.Method == "POST" && rt.Name != "group.seek" { // whose preview is at the same path
			require.Equal(t, 405, c.get(rt.Path).status, rt.Path)
		}
	}
}

func TestWithoutAuthorizeOnlyThisMachineIsServed(t *testing.T) {
	for name, r := range map[string]struct {
		remote, host, forwarded string
		status                  int
	}{
		"local":                             {"127.0.0.1:999", "localhost:8080", "", 200},
		"local, IPv6":                       {"[::1]:999", "[::1]:8080", "", 200},
		"another machine":                   {"192.0.2.7:999", "localhost:8080", "", 403},
		"a name that was made to lead here": {"127.0.0.1:999", "evil.example", "", 403},
		"through a proxy":                   {"127.0.0.1:999", "localhost", "192.0.2.7", 403},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := open(t, nil)
			require.Equal(t, r.status, c.from(r.remote, r.host, r.forwarded).status)
		})
	}
}

func TestNoPageRunsWhatAnApplicationHasStored(t *testing.T) {
	c, _ := open(t, nil)
	queue := "/brokers/main/queues/" + url.PathEscape(shop.HostileQueue)
	for _, page := range append([]string{
		"/topics/orders/records?filter=owned&partition=0", "/topics/orders/records?filter=owned&partition=1", "/topics/orders/records?filter=owned&partition=2",
		"/idempotency/requests/keys/" + url.PathEscape(shop.Hostile), "/brokers/main/queues/emails/messages?id=hostile",
		queue + "/messages", queue + "/leases", "/topics?filter=" + url.QueryEscape(shop.Hostile), "/no/" + url.PathEscape(shop.Hostile),
		"/topics/" + url.PathEscape(shop.Hostile), "/queues?sort=" + url.QueryEscape(shop.Hostile), "/queues?x=" + url.QueryEscape(shop.Hostile),
	}, pages...) {
		a := c.get(page)
		if a.header.Get("Content-Type") == "text/plain; charset=utf-8" {
			continue
		}
		require.NotContains(t, a.body, "<script>", page)
		require.NotContains(t, a.body, "<img", page)
		require.NotContains(t, a.body, "<b>q", page)
		require.NotRegexp(t, `(?i)\sstyle=|\son[a-z]+=["']?document`, withoutText(a.body), page)
	}
}

// withoutText leaves the tags of a page.
func withoutText(page string) string {
	return strings.Join(regexp.MustCompile(`<[^>]*>`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(page, `""`), -1), "\n")
}

func TestEveryAnswerHasTheHeadersThatProtectIt(t *testing.T) {
	c, _ := open(t, nil)
	for _, page := range append([]string{"/nowhere", "/health", "/api/v1/topics", "/style.css", "/live.js", "/topics/none"}, pages...) {
		h := c.get(page).header
		policy := h.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", page)
		require.Contains(t, policy, "frame-ancestors 'none'", page)
		require.NotContains(t, policy, "unsafe", page)
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), page)
		require.Equal(t, "DENY", h.Get("X-Frame-Options"), page)
	}
	for name, cookie := range c.cookies {
		require.True(t, cookie.HttpOnly, name)
		require.Equal(t, http.SameSiteStrictMode, cookie.SameSite, name)
	}
	require.NotEmpty(t, c.cookies)
}

func TestCookiesKeepToTheKindOfConnection(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	h := admin.Handler(db, &admin.Options{Authorize: func(*http.Request, admin.Action) error { return nil }})
	for url, secure := range map[string]bool{"http://host/": false, "https://host/": true} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
		cookies := w.Result().Cookies()
		require.NotEmpty(t, cookies, url)
		for _, c := range cookies {
			require.Equal(t, secure, c.Secure, url)
		}
	}
}

func TestPayloadsAreDownloadedAndNotOpened(t *testing.T) {
	c, _ := open(t, nil)
	m := c.read("/brokers/main/queues/emails/messages?id=hostile")["messages"].([]any)[0].(map[string]any)
	for _, target := range []string{
		"/api/v1/brokers/main/queues/emails/messages/" + m["position"].(string) + "/body", "/api/v1/topics/orders/records/0/0/value",
	} {
		a := c.get(target)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, "application/octet-stream", a.header.Get("Content-Type"))
		require.Contains(t, a.header.Get("Content-Disposition"), "attachment")
	}
}

func TestRedactedBytesAreNeitherShownNorFound(t *testing.T) {
	var parts = make(map[string]bool)
	c, _ := open(t, &admin.Options{Redact: func(p admin.Payload) []byte {
		parts[strings.Fields(p.Part)[0]] = true
		require.NotEmpty(t, p.Object)
		return []byte("redacted")
	}})
	for _, page := range append([]string{"/idempotency/requests/keys/req-001", "/api/v1/topics/orders/records/0/0/value"}, pages...) {
		body := c.get(page).body
		for _, secret := range []string{"customer-", "example.org", `"order"`, "connection refused", "order.paid"} {
			if strings.Contains(body, secret) && !strings.Contains(page, secret) && !strings.HasPrefix(page, "/brokers/main") {
				t.Errorf("%s shows %s", page, secret)
			}
		}
	}
	require.Empty(t, c.read("/topics/orders/records?filter=amount&size=1000")["records"])
	require.Empty(t, c.read("/brokers/main/queues/emails/messages?filter=receipt")["messages"])
	for _, part := range []string{"key", "value", "body", "header", "result", "error"} {
		require.True(t, parts[part], part)
	}
}

func TestEachChangeIsOneLineOfTheAudit(t *testing.T) {
	var text bytes.Buffer
	c, _ := open(t, &admin.Options{Logger: slog.New(slog.NewTextHandler(&text, nil)), Who: func(*http.Request) string { return "ada" }})
	require.Equal(t, 200, c.call("/brokers/main/queues/emails/purge", nil).status)
	require.Equal(t, 1, strings.Count(text.String(), "\n"), text.String())
	for _, part := range []string{"level=INFO", "who=ada", "action=queue.purge", `object="queue \"emails\" of broker \"main\""`, "before=map[removed:151]", "after=map[ready:0]"} {
		require.Contains(t, text.String(), part)
	}
	text.Reset()
	require.Equal(t, 404, c.call("/brokers/main/queues/none/purge", nil).status)
	require.Contains(t, text.String(), "level=WARN")
	text.Reset()
	require.Equal(t, 403, c.do("POST", "/brokers/main/queues/emails/purge", forms["form"], "csrf=x").status)
	require.Equal(t, 1, strings.Count(text.String(), "refused"), text.String())
}

func TestALargeRequestIsRefused(t *testing.T) {
	c, _ := open(t, &admin.Options{Logger: quiet})
	a := c.call("/brokers/main/queues/emails/put", map[string]any{"body": strings.Repeat("x", 5<<20)})
	require.Equal(t, 413, a.status, a.body)
}
