package browsertest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/pebblemq/pebblemq/admin/internal/shop"
)

var (
	screenshots = flag.String("screenshots", "", "directory to write screenshots of all pages to")
	paint       = flag.Float64("paint", 2000, "milliseconds that the first paint of a page with 10,000 queues may take")
)

// site is a store with all kinds of objects and many queues, and its pages.
type site struct {
	url string
	db  *pebblemq.DB
}

func open(t *testing.T, queues int) site {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, shop.Fill(t.Context(), db))
	require.NoError(t, shop.Crowd(t.Context(), db, queues))
	server := httptest.NewServer(admin.Handler(db, &admin.Options{BasePath: "/admin", Logger: quiet}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		require.NoError(t, db.Close())
	})
	return site{server.URL + "/admin", db}
}

// look is how a person sees the pages.
type look struct {
	width  int64
	dark   bool
	script bool
}

func (l look) String() string {
	name := fmt.Sprintf("%d", l.width)
	if l.dark {
		name += "-dark"
	}
	if !l.script {
		name += "-noscript"
	}
	return name
}

// browser is a tab of a new browser.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// start opens a browser. Errors in its console fail the test.
func start(t *testing.T, l look) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "the tests of the pages need chromium: apt-get install chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(int(l.width), 900))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("exception: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.URL, "favicon") {
				t.Errorf("console: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	}))
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(stop)
	b := &browser{t, ctx}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(b, log.Enable, cdp.Empty{})
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: 900, DeviceScaleFactor: 1, Mobile: l.width < 600})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
	return b
}

// call sends a command to the browser.
func call[P, R any](b *browser, command cdp.Command[P, R], parameters P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, command, parameters)
	require.NoError(b.t, err)
}

// run carries out an action in the page.
func run[R any](b *browser, a chromedp.Action[R]) R {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, a)
	require.NoError(b.t, err)
	return result
}

// pages are all pages, by the name of their screenshot.
var pages = map[string]string{
	"overview": "/", "topics": "/topics", "topic": "/topics/orders", "records": "/topics/orders/records?from=end", "record": "/topics/orders/records/0/0",
	"group": "/topics/orders/groups/billing", "seek": "/topics/orders/groups/billing/seek?to=start", "brokers": "/brokers", "broker": "/brokers/main",
	"queues": "/queues?sort=-ready", "queue": "/brokers/main/queues/emails", "messages": "/brokers/main/queues/emails/messages",
	"hostile": "/brokers/main/queues/" + url.PathEscape(shop.HostileQueue) + "/messages", "deaths": "/brokers/main/queues/invoices.dead/deaths",
	"leases": "/visibility/parcels/leases", "visibility": "/visibility/parcels", "delayed": "/visibility/mail/messages?state=delayed",
	"namespaces": "/idempotency", "namespace": "/idempotency/requests", "key": "/idempotency/requests/keys/req-001",
}

func TestEveryPageFitsInEveryLook(t *testing.T) {
	s := open(t, 10_000)
	for _, l := range []look{{1440, false, true}, {1440, true, true}, {390, false, true}, {390, true, true}, {390, false, false}, {1440, false, false}} {
		t.Run(l.String(), func(t *testing.T) {
			b := start(t, l)
			for name, path := range pages {
				run(b, chromedp.Navigate(s.url+path))
				require.NotEqual(t, "owned", run(b, chromedp.Title()), name)
				require.NotEmpty(t, run(b, chromedp.TextContent("h1")), name)
				metrics, err := chromedp.Call(b.ctx, page.GetLayoutMetrics, cdp.Empty{})
				require.NoError(t, err)
				require.LessOrEqual(t, int64(metrics.CSSContentSize.Width), l.width, "%s is wider than the screen", name)
				b.shoot(name + "-" + l.String())
			}
		})
	}
}

func (b *browser) shoot(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	require.NoError(b.t, os.MkdirAll(*screenshots, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(*screenshots, name+".png"), run(b, chromedp.FullScreenshot(100)), 0o644))
}
