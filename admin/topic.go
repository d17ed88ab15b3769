package admin

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// logSection has the pages of the log.
type logSection struct{ ground }

// topicRow is a topic in the list.
type topicRow struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	Kept       int64  `json:"kept" about:"Records that can be read; a compacted topic has fewer."`
	Appended   int64  `json:"appended" about:"Records that were appended so far."`
	Bytes      int64  `json:"bytes" about:"Of the records as they are stored."`
	Groups     int    `json:"groups"`
	Lag        int64  `json:"lag" about:"The largest lag of a group."`
}

type topicsPage struct {
	Topics table[topicRow] `json:"topics"`
}

var topicColumns = columns[topicRow]{
	by("name", func(t topicRow) string { return t.Name }),
	by("partitions", func(t topicRow) int { return t.Partitions }),
	by("kept", func(t topicRow) int64 { return t.Kept }),
	by("appended", func(t topicRow) int64 { return t.Appended }),
	by("bytes", func(t topicRow) int64 { return t.Bytes }),
	by("groups", func(t topicRow) int { return t.Groups }),
	by("lag", func(t topicRow) int64 { return t.Lag }),
}

func (s logSection) topics(ctx context.Context, in listIn) (topicsPage, error) {
	i, err := s.census.take(ctx)
	if err != nil {
		return topicsPage{}, err
	}
	groups := make(map[string][]groupRow)
	for _, g := range i.groups {
		groups[g.Topic] = append(groups[g.Topic], g)
	}
	rows := make([]topicRow, 0, len(i.topics))
	for _, t := range i.topics {
		row := topicRow{Name: t.Name, Partitions: len(t.Partitions), Kept: t.Kept, Appended: t.Appended, Groups: len(groups[t.Name])}
		for _, p := range t.Partitions {
			row.Bytes += p.Bytes
		}
		for _, g := range groups[t.Name] {
			row.Lag = max(row.Lag, g.Lag)
		}
		rows = append(rows, row)
	}
	t, err := topicColumns.page(rows, in, func(t topicRow) string { return t.Name })
	return topicsPage{t}, err
}

func topicPath(topic string) string { return "/topics/" + url.PathEscape(topic) }

func groupPath(topic, group string) string {
	return topicPath(topic) + "/groups/" + url.PathEscape(group)
}

type topicIn struct {
	Topic string `in:"topic" about:"Name of the topic."`
}

type onePartition struct {
	Partition int   `json:"partition"`
	Start     int64 `json:"start" about:"Offset of the oldest record."`
	End       int64 `json:"end" about:"Offset of the next record to come."`
	Bytes     int64 `json:"bytes"`
}

type topicPage struct {
	Name       string          `json:"name"`
	Config     log.TopicConfig `json:"config" about:"Durations are in nanoseconds."`
	Created    time.Time       `json:"created"`
	Altered    time.Time       `json:"altered,omitzero"`
	Appended   int64           `json:"appended"`
	Kept       int64           `json:"kept"`
	Partitions []onePartition  `json:"partitions"`
	Groups     []groupRow      `json:"groups"`
	Damage     []string        `json:"damage" about:"Records that cannot be read."`
}

func (s logSection) topic(ctx context.Context, in topicIn) (topicPage, error) {
	t, err := log.LookupTopic(ctx, s.db, in.Topic)
	if err != nil {
		return topicPage{}, err
	}
	info, err := t.Info(ctx)
	if err != nil {
		return topicPage{}, err
	}
	page := topicPage{
		Name: info.Name, Config: info.Config, Created: info.Created, Altered: info.Altered, Appended: info.Appended, Kept: info.Kept,
		Partitions: []onePartition{}, Groups: []groupRow{}, Damage: []string{},
	}
	for n, p := range info.Partitions {
		page.Partitions = append(page.Partitions, onePartition{n, p.Start, p.End, p.Bytes})
	}
	for _, d := range t.Damage() {
		page.Damage = append(page.Damage, d.Error())
	}
	groups, err := t.Groups(ctx)
	for _, g := range groups {
		page.Groups = append(page.Groups, newGroupRow(in.Topic, g))
	}
	return page, err
}

func topicObject(name string) string { return fmt.Sprintf("topic %q", name) }
