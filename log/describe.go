package log

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

func init() {
	store.RegisterDescriber(describeAll)
	store.RegisterAger("group", oldestAge)
}

// describeAll tells of all topics and their groups.
func describeAll(ctx context.Context, s *store.Store) (all []store.Described, err error) {
	db := bridge.DB(s).(*pebblemq.DB)
	topics, err := Topics(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, listed := range topics {
		t, err := LookupTopic(ctx, db, listed.Name)
		switch {
		case errors.Is(err, store.ErrNotFound): // deleted by now
		case passed(err):
			all = append(all, store.Described{Kind: "topic", Name: listed.Name, Info: listed})
		case err != nil:
			return nil, err
		default:
			if all, err = t.describe(ctx, listed, all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// describe adds a topic and its groups. What cannot be read of them is left out.
func (t *Topic) describe(ctx context.Context, listed TopicInfo, all []store.Described) ([]store.Described, error) {
	info, err := t.Info(ctx)
	switch {
	case passed(err):
		info = listed
	case err != nil:
		return nil, err
	}
	all = append(all, store.Described{Kind: "topic", Name: t.name, Info: info})
	groups, err := t.Groups(ctx)
	if err != nil && !passed(err) {
		return nil, err
	}
	for _, info := range groups {
		if !info.Expired && !info.Open {
			if info, err = t.openInfo(ctx, info); err != nil {
				return nil, err
			}
		}
		all = append(all, store.Described{Kind: "group", Parent: t.name, Name: info.Name, Info: info})
	}
	return all, nil
}

// openInfo opens a group to know its lag.
func (t *Topic) openInfo(ctx context.Context, listed GroupInfo) (GroupInfo, error) {
	g, err := t.LookupGroup(ctx, listed.Name)
	var info GroupInfo
	if err == nil {
		info, err = g.Info(ctx)
	}
	if passed(err) {
		return listed, nil
	}
	return info, err
}

// passed reports that a description goes on with what it knows: the object was deleted
// meanwhile, or has lost its place, or is damaged.
func passed(err error) bool {
	return store.IsUnread(err) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDeleted) || errors.Is(err, ErrOffsetsExpired)
}

// oldestAge returns the greatest age in the lag of a group.
func oldestAge(ctx context.Context, s *store.Store, topic, name string) (age time.Duration, err error) {
	t, err := LookupTopic(ctx, bridge.DB(s).(*pebblemq.DB), topic)
	if err != nil {
		return 0, err
	}
	g, err := t.LookupGroup(ctx, name)
	if err != nil {
		return 0, err
	}
	lags, err := g.Lag(ctx)
	for _, l := range lags {
		age = max(age, l.Age)
	}
	return age, err
}
