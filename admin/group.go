package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// groupRow is a group in a list.
type groupRow struct {
	Topic   string `json:"topic"`
	Name    string `json:"name"`
	Members int    `json:"members"`
	Lag     int64  `json:"lag" about:"Records that are not finished, in all partitions."`
	Blocked int    `json:"blocked" about:"Partitions that a member cannot read on in."`
	Expired bool   `json:"expired" about:"Whether its offsets are gone."`
}

func newGroupRow(topic string, info log.GroupInfo) groupRow {
	return groupRow{Topic: topic, Name: info.Name, Members: len(info.Members), Lag: info.Lag, Blocked: info.Blocked, Expired: info.Expired}
}

type groupIn struct {
	Topic string `in:"topic" about:"Name of the topic."`
	Group string `in:"group" about:"Name of the group."`
}

type groupPage struct {
	Topic   string       `json:"topic"`
	Name    string       `json:"name"`
	From    string       `json:"from" about:"Where the group begins without offsets."`
	Created time.Time    `json:"created"`
	Lag     int64        `json:"lag"`
	Members []memberView `json:"members"`
	Shares  []shareView  `json:"partitions"`
}

type memberView struct {
	Name       string    `json:"name"`
	Joined     time.Time `json:"joined"`
	Partitions []int     `json:"partitions" about:"That it owns."`
}

type shareView struct {
	Partition  int     `json:"partition"`
	Owner      string  `json:"owner" about:"Number and name of the member that owns it."`
	Committed  int64   `json:"committed" about:"Offset of the next record that the group wants."`
	End        int64   `json:"end"`
	Lag        int64   `json:"lag"`
	AgeSeconds float64 `json:"ageSeconds" about:"Age of the oldest record that is not finished."`
	Skipped    int64   `json:"skipped"`
	Problem    string  `json:"problem,omitempty" about:"Why the group cannot read on."`
}

func (s logSection) lookupGroup(ctx context.Context, topic, group string) (*log.Topic, *log.Group, error) {
	t, err := log.LookupTopic(ctx, s.db, topic)
	if err != nil {
		return nil, nil, err
	}
	g, err := t.LookupGroup(ctx, group)
	return t, g, err
}

func (s logSection) group(ctx context.Context, in groupIn) (groupPage, error) {
	_, g, err := s.lookupGroup(ctx, in.Topic, in.Group)
	if err != nil {
		return groupPage{}, err
	}
	info, err := g.Info(ctx)
	if err != nil {
		return groupPage{}, err
	}
	lags, err := g.Lag(ctx)
	if err != nil {
		return groupPage{}, err
	}
	page := groupPage{
		Topic: in.Topic, Name: info.Name, From: info.Config.From.String(), Created: info.Created, Lag: info.Lag,
		Members: []memberView{}, Shares: []shareView{},
	}
	owners := make(map[int]string)
	for n, m := range info.Members {
		page.Members = append(page.Members, memberView{m.Name, m.Joined, append([]int{}, m.Partitions...)})
		for _, p := range m.Partitions {
			owners[p] = fmt.Sprintf("%d %s", n+1, m.Name)
		}
	}
	for _, l := range lags {
		v := shareView{
			Partition: l.Partition, Owner: owners[l.Partition], Committed: l.Committed, End: l.End,
			Lag: l.Records, AgeSeconds: seconds(l.Age), Skipped: l.Skipped,
		}
		if l.Err != nil {
			v.Problem = l.Err.Error()
		}
		page.Shares = append(page.Shares, v)
	}
	return page, nil
}

type seekIn struct {
	groupIn
	To        string    `in:"to" enum:"start end offset time" about:"Where the group is to stand."`
	Offset    int64     `in:"offset" about:"With to=offset: the offset, which must be in range in each partition that moves."`
	Time      time.Time `in:"time" about:"With to=time: the first record that is not older."`
	Partition string    `in:"partition" about:"The one partition to move; all by default."`
}

// from returns the position, and the partitions to move.
func (in seekIn) from() (to log.From, partitions []int, err error) {
	if in.Partition != "" {
		n, err := strconv.Atoi(in.Partition)
		if err != nil {
			return to, nil, invalid("partition is %.40q: not a number", in.Partition)
		}
		partitions = []int{n}
	}
	switch {
	case in.To == "start":
		return log.Start(), partitions, nil
	case in.To == "end":
		return log.End(), partitions, nil
	case in.To == "offset":
		return log.Offset(in.Offset), partitions, nil
	case in.To == "time" && !in.Time.IsZero():
		return log.At(in.Time), partitions, nil
	case in.To == "time":
		return to, nil, invalid("to=time needs a time")
	}
	return to, nil, invalid("to is missing: one of start, end, offset, time")
}

type seekPage struct {
	Topic     string      `json:"topic"`
	Group     string      `json:"group"`
	To        string      `json:"to"`
	Moves     []seekMove  `json:"partitions"`
	Replayed  int64       `json:"replayed" about:"Offsets that the group would read again."`
	Skipped   int64       `json:"skipped" about:"Offsets that the group would pass over."`
	Parameter [][2]string `json:"-"` // for the form that confirms
}

type seekMove struct {
	Partition int   `json:"partition"`
	Committed int64 `json:"committed" about:"Where the group stands."`
	Target    int64 `json:"target" about:"Where it would stand."`
}

// Replayed is how many offsets would be read again, negative if they would be passed over.
func (m seekMove) Replayed() int64 { return m.Committed - m.Target }

// previewSeek tells what a seek would do.
func (s logSection) previewSeek(ctx context.Context, in seekIn) (seekPage, error) {
	t, g, err := s.lookupGroup(ctx, in.Topic, in.Group)
	if err != nil {
		return seekPage{}, err
	}
	to, only, err := in.from()
	if err != nil {
		return seekPage{}, err
	}
	page := seekPage{Topic: in.Topic, Group: in.Group, To: to.String(), Moves: []seekMove{}, Parameter: in.parameters()}
	committed, err := g.Committed(ctx)
	if err != nil {
		return seekPage{}, err
	}
	for _, c := range committed {
		if len(only) > 0 && only[0] != c.Partition {
			continue
		}
		reader, err := t.NewReader(c.Partition, to)
		if err != nil {
			return seekPage{}, clientError(err)
		}
		m := seekMove{c.Partition, c.Next, reader.Offset()}
		page.Replayed += max(m.Replayed(), 0)
		page.Skipped += max(-m.Replayed(), 0)
		page.Moves = append(page.Moves, m)
	}
	if len(page.Moves) == 0 {
		return seekPage{}, refusal{http.StatusNotFound, fmt.Sprintf("topic %q has no partition %s", in.Topic, in.Partition)}
	}
	return page, nil
}

func (in seekIn) parameters() (list [][2]string) {
	list = append(list, [2]string{"to", in.To}, [2]string{"partition", in.Partition})
	if in.To == "offset" {
		list = append(list, [2]string{"offset", strconv.FormatInt(in.Offset, 10)})
	}
	if in.To == "time" {
		list = append(list, [2]string{"time", in.Time.Format(time.RFC3339Nano)})
	}
	return list
}

func (s logSection) seek(ctx context.Context, in seekIn) (changed, error) {
	_, g, err := s.lookupGroup(ctx, in.Topic, in.Group)
	if err != nil {
		return changed{}, err
	}
	to, only, err := in.from()
	if err != nil {
		return changed{}, err
	}
	before, err := positions(ctx, g)
	if err != nil {
		return changed{}, err
	}
	if err := g.Seek(ctx, to, only...); err != nil {
		return changed{}, clientError(err)
	}
	after, err := positions(ctx, g)
	return changed{
		Done:   fmt.Sprintf("Group %s was moved to %s.", in.Group, to),
		Object: fmt.Sprintf("group %q of topic %q", in.Group, in.Topic), Before: before, After: after,
	}, err
}

// positions returns the committed offset of each partition.
func positions(ctx context.Context, g *log.Group) (map[string]any, error) {
	committed, err := g.Committed(ctx)
	at := make(map[string]any, len(committed))
	for _, c := range committed {
		at[strconv.Itoa(c.Partition)] = c.Next
	}
	return at, err
}
