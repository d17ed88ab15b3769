package cron_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq/workqueue/cron"
)

func parse(t testing.TB, text, location string) *cron.Schedule {
	t.Helper()
	l, err := time.LoadLocation(location)
	if err != nil {
		t.Skip(err)
	}
	s, err := cron.Parse(text, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExpressions(t *testing.T) {
	for _, c := range []struct{ text, location, after, want string }{
		{"30 2 * * *", "UTC", "2026-11-25T00:00:00Z", "2026-11-25T02:30:00Z"},
		{"30 2 * * *", "UTC", "2026-11-25T02:30:00Z", "2026-11-26T02:30:00Z"},
		{"*/15 9-17 * * mon-fri", "UTC", "2026-11-27T17:45:00Z", "2026-11-30T09:00:00Z"},
		{"0 0 1,15 * *", "UTC", "2026-11-02T00:00:00Z", "2026-11-15T00:00:00Z"},
		{"0 0 13 * fri", "UTC", "2026-11-10T00:00:00Z", "2026-11-13T00:00:00Z"}, // either day
		{"0 0 29 feb *", "UTC", "2026-11-25T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"@daily", "UTC", "2026-11-25T12:00:00Z", "2026-11-26T00:00:00Z"},
		{"0 9 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T07:00:00Z"},  // summer has come
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"}, // as the clocks change
		{"0 9 * * *", "America/New_York", "2026-11-25T13:59:59Z", "2026-11-25T14:00:00Z"},
	} {
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, c.text, c.location).Next(after).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %s after %s: %s, want %s", c.text, c.location, c.after, got, c.want)
		}
	}
}

func TestATimeThatNeverComesIsZero(t *testing.T) {
	if next := parse(t, "0 0 30 2 *", "UTC").Next(time.Now()); !next.IsZero() {
		t.Error(next)
	}
}

func TestTheTextTellsSchedulesApart(t *testing.T) {
	if a, b := parse(t, " 0  9 * * * ", "UTC").String(), parse(t, "0 9 * * *", "UTC").String(); a != b || a != "0 9 * * * UTC" {
		t.Errorf("%q, %q", a, b)
	}
	if s := parse(t, "0 9 * * *", "Europe/Berlin").String(); !strings.HasSuffix(s, "Europe/Berlin") {
		t.Error(s)
	}
}

func TestBadExpressionsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "x * * * *", "5-1 * * * *",
		"*/0 * * * *", "@every 1h", "@never", "TZ=UTC * * * * *", "CRON_TZ=", "TZ=",
	} {
		if s, err := cron.Parse(text, nil); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("30 2 * * 1-5")
	f.Add("@daily")
	f.Add("TZ=")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := cron.Parse(text, nil)
		if err != nil {
			return
		}
		now := time.Unix(1_800_000_000, 0)
		if next := s.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%q: %v", text, next)
		}
	})
}

func ExampleParse() {
	s, err := cron.Parse("30 2 * * 1-5", time.UTC)
	if err != nil {
		panic(err)
	}
	friday := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	fmt.Println(s.Next(friday).Format(time.RFC1123))
	// Output: Mon, 30 Nov 2026 02:30:00 UTC
}
