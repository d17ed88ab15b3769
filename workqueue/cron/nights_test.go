package cron_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq/workqueue/cron"
)

// zones change their clocks by an hour or a half, at night or at midnight, by law and by
// Ramadan; Apia left out a whole day.
var zones = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia"}

// instants returns when clocks show a face, which is kept as a time in UTC, and the
// offset before.
func instants(face time.Time, l *time.Location) (at []time.Time, before time.Duration) {
	offset := func(t time.Time) time.Duration {
		_, s := t.In(l).Zone()
		return time.Duration(s) * time.Second
	}
	before = offset(face.Add(-40 * time.Hour))
	for _, o := range []time.Duration{before, offset(face.Add(40 * time.Hour))} {
		if t := face.Add(-o); offset(t) == o && !slices.Contains(at, t) {
			at = append(at, t)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return at, before
}

// change returns when the clocks change around a face that they skip.
func change(face time.Time, before time.Duration, l *time.Location) time.Time {
	lo, hi := face.Add(-40*time.Hour), face.Add(40*time.Hour)
	for hi.Sub(lo) > time.Second {
		mid := lo.Add(hi.Sub(lo) / 2).Truncate(time.Second)
		if _, s := mid.In(l).Zone(); time.Duration(s)*time.Second == before {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// Twenty years of days in each zone, one by one, by the text of each rule.
func TestEachRuleOverTwentyYears(t *testing.T) {
	begin, end := time.Date(2006, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, zone := range zones {
		l, err := time.LoadLocation(zone)
		if err != nil {
			t.Skip(err)
		}
		odd := 0
		for i, c := range []struct {
			text string
			of   time.Duration
		}{
			{"30 2 * * *", 150 * time.Minute}, {"30 1 * * *", 90 * time.Minute},
			{"0 0 * * *", 0}, {"15 0 * * *", 15 * time.Minute}, {"45 23 * * *", 24*time.Hour - 15*time.Minute},
		} {
			for _, rule := range []cron.Rule{cron.Usual, cron.Once, cron.Shifted, cron.Skipped, cron.Elapsed} {
				if i > 0 && rule == cron.Usual {
					continue // it is Once, as with the first
				}
				var want []time.Time
				for day := begin; day.Before(end); day = day.AddDate(0, 0, 1) {
					face := day.Add(c.of)
					at, before := instants(face, l)
					switch {
					case len(at) == 1:
					case len(at) == 2 && rule == cron.Elapsed:
					case len(at) == 2:
						at = at[:1]
					case rule == cron.Usual || rule == cron.Once:
						at = []time.Time{change(face, before, l)}
					case rule == cron.Shifted:
						at = []time.Time{face.Add(-before)}
					}
					if len(at) != 1 || !at[0].Equal(face.Add(-before)) {
						odd++
					}
					want = append(want, at...)
				}
				slices.SortFunc(want, time.Time.Compare)
				want = slices.CompactFunc(want, time.Time.Equal)
				s := parse(t, c.text, zone).By(rule)
				at := want[0].Add(-time.Minute)
				for i, w := range want {
					if at = s.Next(at); !at.Equal(w) {
						t.Fatalf("%s: time %d is %v, want %v", s, i, at, w.In(l))
					}
				}
			}
		}
		if odd == 0 {
			t.Error("clocks never change in", zone)
		}
	}
}

// What comes each hour comes after each hour, whatever the clocks do.
func TestAnHourIsAnHour(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York"} {
		for _, text := range []string{"0 * * * *", "@hourly"} {
			s := parse(t, text, zone)
			at := s.Next(time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC))
			for at.Year() < 2026 {
				next := s.Next(at)
				if next.Sub(at) != time.Hour {
					t.Fatal(s, at, next)
				}
				at = next
			}
		}
	}
}

func TestTheTextTellsTheRule(t *testing.T) {
	s := parse(t, "30 2 * * *", "Europe/Berlin")
	if strings.Contains(s.String(), "once") || s.By(cron.Once).String() == s.String() || s.By(cron.Usual).String() != s.String() {
		t.Error(s, s.By(cron.Once))
	}
}
