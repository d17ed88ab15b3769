package browsertest

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

const (
	emails = "/brokers/main/queues/emails"
	dead   = "/brokers/main/queues/invoices.dead"
)

// press clicks what a selector finds, and waits for the page that follows.
func (b *browser) press(selector string) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(selector, chromedp.NodeVisible))
	require.NoError(b.t, err, selector)
}

// changes presses a button and reads what the page says of it.
func (b *browser) changes(selector, want string) {
	b.t.Helper()
	b.press(selector)
	require.Contains(b.t, run(b, chromedp.TextContent(".notice[role=status]")), want)
}

func (b *browser) visit(url string) {
	b.t.Helper()
	run(b, chromedp.Navigate(url))
}

func (b *browser) fill(selector, text string) {
	b.t.Helper()
	run(b, chromedp.SendKeys(selector, text, chromedp.NodeVisible))
}

func TestEveryActionDoesWhatItSays(t *testing.T) {
	for _, l := range []look{{1440, false, true}, {390, true, false}} {
		t.Run(l.String(), func(t *testing.T) {
			s := open(t, 0)
			b := start(t, l)

			b.visit(s.url + emails)
			run(b, chromedp.Click("details:first-of-type summary"))
			b.fill("textarea[name=body]", "from the browser")
			b.fill("input[name=id]", "by-hand")
			b.changes("form[action$='/put'] button", "in the queue")

			b.visit(s.url + emails + "/messages?id=by-hand")
			b.press("tbody th a")
			require.Contains(t, run(b, chromedp.TextContent("pre.payload")), "from the browser")

			b.visit(s.url + emails)
			b.changes("form[action$='/pause'] button", "paused")
			b.changes("form[action$='/resume'] button", "again")
			run(b, chromedp.Click("details:nth-of-type(2) summary"))
			run(b, chromedp.Click("form[action$='/purge'] input[type=checkbox]"))
			b.changes("form[action$='/purge'] button", "152 messages were removed")

			b.visit(s.url + "/brokers/main/queues/thumbnails/messages?state=delayed")
			b.changes("form[action$='/cancel'] button", "cancelled")

			b.visit(s.url + dead + "/deaths")
			b.fill("input[name=error]", "refused")
			b.changes("form[action$='/redrive'] button", "begun")
			require.Eventually(t, func() bool { return ready(t, s, "invoices") == 8 }, 10*time.Second, 20*time.Millisecond)

			b.visit(s.url + "/topics/orders/groups/billing")
			b.press("form[action$='/seek'] button")
			require.Contains(t, run(b, chromedp.TextContent("h1")), "Move to start?")
			b.changes("button.danger", "moved to start")

			b.visit(s.url + "/idempotency/requests/keys/req-001")
			run(b, chromedp.Click("summary"))
			run(b, chromedp.Click("input[type=checkbox]"))
			b.changes("form[action$='/forget'] button", "forgotten")

			b.visit(s.url + "/queues")
			b.fill("input[name=filter]", "mail")
			b.press("form.find button")
			require.NotContains(t, run(b, chromedp.TextContent("tbody")), "thumbnails")
			b.press("thead th:nth-child(3) a")
			require.Contains(t, run(b, chromedp.Location()), "sort=-ready")
		})
	}
}

func ready(t *testing.T, s site, queue string) uint64 {
	t.Helper()
	b, err := workqueue.LookupBroker(t.Context(), s.db, "main")
	require.NoError(t, err)
	q, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	stats, err := q.Stats(t.Context())
	require.NoError(t, err)
	return stats.Ready
}

func TestAPageFollowsTheStore(t *testing.T) {
	s := open(t, 0)
	b := start(t, look{1440, false, true})
	b.visit(s.url + emails)
	run(b, chromedp.WaitVisible("#live"))
	broker, err := workqueue.LookupBroker(t.Context(), s.db, "main")
	require.NoError(t, err)
	require.NoError(t, broker.Publish(t.Context(), "", "emails", workqueue.Message{}))
	run(b, chromedp.Poll[bool](`document.querySelector("#now .value").textContent === "152"`))
}

func TestTheFirstPageIsQuickWithManyQueues(t *testing.T) {
	s := open(t, 10_000)
	b := start(t, look{1440, false, true})
	b.visit(s.url + "/topics")
	for _, path := range []string{"/", "/queues?sort=-ready"} {
		b.visit(s.url + path)
		painted := run(b, chromedp.Poll[float64](`performance.getEntriesByName("first-contentful-paint")[0]?.startTime`))
		t.Logf("first paint of %s: %.0f ms", path, painted)
		require.Less(t, painted, *paint, path)
	}
}
