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
	schedule cron.Schedule
	location *time.Location
}

// Parse reads a standard cron expression: minute, hour, day of the month, month, day of
// the week, with lists, ranges, steps and names, or one of @yearly, @monthly, @weekly,
// @daily and @hourly. If both days are restricted, either will do. The times are those
// of a location; nil is UTC. A time that a change of clocks skips does not come that
// day, and one that comes twice comes twice if its hour is a star.
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
	return &Schedule{text, s, location}, nil
}

// Next returns the first time after t; zero if there is none within five years.
func (s *Schedule) Next(t time.Time) time.Time { return s.schedule.Next(t.In(s.location)) }

// String returns the expression and its location.
func (s *Schedule) String() string { return s.text + " " + s.location.String() }
