// Package cron makes schedules of cron expressions, for the periodic jobs of package
// workqueue:
//
//	nightly, err := cron.Parse("30 2 * * 1-5", berlin)
//	...
//	err = broker.PutJob(ctx, workqueue.Job{Name: "report", Schedule: nightly, Key: "reports", Message: m})
//
// It is a module of its own, so that who does not need it does not have the parser,
// github.com/robfig/cron/v3, among their dependencies.
package cron

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a workqueue.Schedule. It is safe for concurrent use.
type Schedule struct {
	text     string
	schedule cron.Schedule // of a clock that never changes
	location *time.Location
	rule     Rule // not Usual
	usual    bool // the rule is the usual one
}

// years is how far Next looks ahead.
const years = 5

// Parse reads a standard cron expression: minute, hour, day of the month, month, day of
// the week, with lists, ranges, steps and names, or one of @yearly, @monthly, @weekly,
// @daily and @hourly. If both days are restricted, either will do. The times are those
// of a location; nil is UTC. Where clocks change, Usual is the rule; By chooses another one.
//
// There are no seconds, no @every (that is what Job.Every is for) and no time zone
// within the expression.
func Parse(expression string, location *time.Location) (*Schedule, error) {
	text := strings.Join(strings.Fields(expression), " ")
	if strings.Contains(text, "=") {
		return nil, fmt.Errorf("cron: %q: the time zone is a parameter of its own", text)
	}
	if strings.HasPrefix(text, "@every") {
		return nil, fmt.Errorf("cron: %q: use the Every of the job", text)
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("cron: %q: %w", text, err)
	}
	if location == nil {
		location = time.UTC
	}
	return (&Schedule{text: text, schedule: s, location: location}).By(Usual), nil
}

// By returns the schedule with another rule for the times that a change of clocks skips or
// repeats.
func (s *Schedule) By(r Rule) *Schedule {
	by := *s
	by.rule, by.usual = r, r == Usual
	if by.usual {
		by.rule = Once
		if s.hourly() {
			by.rule = Elapsed
		}
	}
	return &by
}

// hourly reports that the hour of the expression is a star.
func (s *Schedule) hourly() bool {
	if fields := strings.Fields(s.text); len(fields) > 1 {
		return fields[1][0] == '*' || fields[1][0] == '?'
	}
	return s.text == "@hourly"
}

// Next returns the first time after t; zero if there is none within five years.
func (s *Schedule) Next(t time.Time) time.Time {
	for at, end := t.In(s.location), t.AddDate(years, 0, 0); at.Before(end); {
		n := stretchAt(at)
		if next := s.within(n, t); !next.IsZero() {
			return next.In(s.location)
		}
		if n.end.IsZero() {
			break
		}
		at = n.end.In(s.location)
	}
	return time.Time{}
}

// String returns the expression, its location, and its rule unless that is Usual.
func (s *Schedule) String() string {
	text := s.text + " " + s.location.String()
	if !s.usual {
		text += " " + s.rule.String()
	}
	return text
}
