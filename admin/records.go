package admin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// A search in a partition reads this much at most; then the page says where to go on.
const (
	scanRecords = 20_000
	scanBytes   = 16 << 20
	scanTime    = 300 * time.Millisecond
	fetchBytes  = 1 << 20
)

type recordsIn struct {
	Topic     string    `in:"topic" about:"Name of the topic."`
	Partition int       `in:"partition" about:"Partition to read, 0 by default."`
	From      string    `in:"from" enum:"start end offset time" about:"Where to begin: start (the default), end (the newest records), offset or time."`
	Offset    int64     `in:"offset" about:"With from=offset: the first offset to read."`
	Time      time.Time `in:"time" about:"With from=time: records that are not older."`
	Key       string    `in:"key" about:"Keep the records with exactly this key."`
	Filter    string    `in:"filter" about:"Keep the records that contain this text in key, value or headers."`
	Size      int       `in:"size" about:"Records of a page, 50 by default and 1000 at most."`
}

type recordsPage struct {
	Topic      string       `json:"topic"`
	Partition  int          `json:"partition"`
	Partitions int          `json:"partitions"`
	Start      int64        `json:"start" about:"Offset of the oldest record of the partition."`
	End        int64        `json:"end" about:"Offset of the next record to come."`
	Records    []recordView `json:"records"`
	Scanned    int          `json:"scanned" about:"Records that were read to find these."`
	Next       int64        `json:"next" about:"Offset at which to go on."`
	More       bool         `json:"more" about:"Whether records follow."`
	Damage     string       `json:"damage,omitempty" about:"Why the reading stopped, if records cannot be read."`
	In         recordsIn    `json:"-"`
}

type recordView struct {
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Key       payload   `json:"key"`
	Value     payload   `json:"value"`
	Headers   []header  `json:"headers"`
}

func (s logSection) records(ctx context.Context, in recordsIn) (recordsPage, error) {
	t, err := log.LookupTopic(ctx, s.db, in.Topic)
	if err != nil {
		return recordsPage{}, err
	}
	in.Size = cmp.Or(in.Size, defaultSize)
	if in.Size < 1 || in.Size > maxSize {
		return recordsPage{}, invalid("size %d is not between 1 and %d", in.Size, maxSize)
	}
	page := recordsPage{Topic: in.Topic, Partition: in.Partition, Partitions: t.Partitions(), Records: []recordView{}, In: in}
	if page.Start, page.End, err = t.Offsets(ctx, in.Partition); err != nil {
		return recordsPage{}, err
	}
	reader, err := t.NewReader(in.Partition, in.from(page.Start, page.End))
	if err != nil {
		return recordsPage{}, clientError(err)
	}
	page.Next = reader.Offset()
	err = s.scan(ctx, reader, in, &page)
	var damage *log.DamageError
	if errors.As(err, &damage) { // the link leads past it
		page.Damage, page.Next, err = damage.Error(), damage.To, nil
	}
	page.More = page.Next < page.End
	return page, err
}

func (in recordsIn) from(start, end int64) log.From {
	switch in.From {
	case "end":
		return log.Offset(max(start, end-int64(in.Size)))
	case "offset":
		return log.Offset(in.Offset)
	case "time":
		return log.At(in.Time)
	}
	return log.Start()
}

// scan reads records until the page is full, or the limits of a search are reached.
func (s logSection) scan(ctx context.Context, reader *log.Reader, in recordsIn, page *recordsPage) error {
	deadline := time.Now().Add(scanTime)
	for read := 0; read < scanBytes && page.Scanned < scanRecords && time.Now().Before(deadline); {
		records, err := reader.Fetch(ctx, maxSize, fetchBytes)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			page.Scanned++
			page.Next = r.Offset + 1
			read += len(r.Key) + len(r.Value)
			if r = s.redacted(in.Topic, r); in.matches(r) {
				page.Records = append(page.Records, newRecordView(r, previewBytes))
			}
			if len(page.Records) == in.Size {
				return nil
			}
		}
	}
	return nil
}

// redacted returns a record with what may be shown of it.
func (s logSection) redacted(topic string, r log.Record) log.Record {
	object := topicObject(topic)
	r.Key, r.Value = s.shown(object, "key", r.Key), s.shown(object, "value", r.Value)
	headers := make([]log.Header, len(r.Headers))
	for n, h := range r.Headers {
		headers[n] = log.Header{Name: h.Name, Value: s.shown(object, "header "+h.Name, h.Value)}
	}
	r.Headers = headers
	return r
}

func (in recordsIn) matches(r log.Record) bool {
	if in.Key != "" && string(r.Key) != in.Key {
		return false
	}
	needle := []byte(in.Filter)
	if len(needle) == 0 || bytes.Contains(r.Key, needle) || bytes.Contains(r.Value, needle) {
		return true
	}
	for _, h := range r.Headers {
		if bytes.Contains(h.Value, needle) || bytes.Contains([]byte(h.Name), needle) {
			return true
		}
	}
	return false
}

func newRecordView(r log.Record, limit int) recordView {
	v := recordView{
		Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Headers: []header{},
		Key: newPayload(r.Key, limit), Value: newPayload(r.Value, limit),
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, header{h.Name, newPayload(h.Value, limit)})
	}
	return v
}

type recordIn struct {
	Topic     string `in:"topic" about:"Name of the topic."`
	Partition int    `in:"partition" about:"Partition of the record."`
	Offset    int64  `in:"offset" about:"Offset of the record."`
}

type recordPage struct {
	Topic string `json:"topic"`
	recordView
}

// Name is what the page is called.
func (p recordPage) Name() string {
	return fmt.Sprintf("Record %d of partition %d", p.Offset, p.Partition)
}

func (s logSection) record(ctx context.Context, in recordIn) (recordPage, error) {
	r, err := s.readRecord(ctx, in)
	return recordPage{in.Topic, newRecordView(r, fullBytes)}, err
}

func (s logSection) recordValue(w http.ResponseWriter, r *http.Request, in recordIn) error {
	record, err := s.readRecord(r.Context(), in)
	if err != nil {
		return err
	}
	return download(w, fmt.Sprintf("%s-%d-%d", in.Topic, in.Partition, in.Offset), record.Value)
}

// readRecord returns what may be shown of a record.
func (s logSection) readRecord(ctx context.Context, in recordIn) (log.Record, error) {
	t, err := log.LookupTopic(ctx, s.db, in.Topic)
	if err != nil {
		return log.Record{}, err
	}
	reader, err := t.NewReader(in.Partition, log.Offset(in.Offset))
	if err != nil {
		return log.Record{}, clientError(err)
	}
	records, err := reader.Fetch(ctx, 1, fetchBytes)
	if err != nil {
		return log.Record{}, err
	}
	if len(records) == 0 || records[0].Offset != in.Offset { // the end, or compacted away
		return log.Record{}, refusal{http.StatusNotFound, fmt.Sprintf("partition %d of topic %q has no record %d", in.Partition, in.Topic, in.Offset)}
	}
	return s.redacted(in.Topic, records[0]), nil
}

// clientError marks a position that the client has made up.
func clientError(err error) error {
	if errors.Is(err, log.ErrOffsetOutOfRange) {
		return fmt.Errorf("%w: %w", pebblemq.ErrInvalid, err)
	}
	return err
}
