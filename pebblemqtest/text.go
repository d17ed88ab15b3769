package pebblemqtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// fields is a message in words: names and values, without those that are empty.
type fields struct{ strings.Builder }

func (f *fields) add(name string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
		value = fmt.Sprintf("%q", v)
	case []byte:
		if v == nil {
			return
		}
		value = short(v)
	}
	if f.Len() > 0 {
		f.WriteString(", ")
	}
	fmt.Fprintf(f, "%s %v", name, value)
}

// mostShown is how much of a body a list shows.
const mostShown = 200

func short(b []byte) string {
	if len(b) <= mostShown {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:mostShown], len(b))
}

func textOfPublished(m *workqueue.Browsed) string {
	var f fields
	f.add("MessageID", m.MessageID)
	f.add("exchange", m.Exchange)
	f.add("key", m.RoutingKey)
	f.add("Type", m.Type)
	f.add("ContentType", m.ContentType)
	f.add("CorrelationID", m.CorrelationID)
	f.add("UniqueKey", m.UniqueKey)
	if m.Priority > 0 {
		f.add("Priority", m.Priority)
	}
	if len(m.Headers) > 0 {
		f.add("Headers", m.Headers)
	}
	f.add("Body", m.Body)
	f.add("is", state(string(m.State), m.DeliveryCount, "delivered"))
	if len(m.Deaths) > 0 {
		f.add("died in", plain(fmt.Sprintf("%q of %s", m.Deaths[0].Queue, m.Deaths[0].Reason)))
	}
	return f.String()
}

// plain is a value without quotes.
type plain string

func state(is string, times int, verb string) plain {
	if times == 0 {
		return plain(is)
	}
	return plain(fmt.Sprintf("%s, %s %d times", is, verb, times))
}

func textOfSent(m *visibility.Browsed) string {
	var f fields
	f.add("ID", m.ID)
	f.add("Group", m.Group)
	f.add("DedupeID", m.DedupeID)
	if m.Priority > 0 {
		f.add("Priority", m.Priority)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		f.add("attribute "+name, m.Attributes[name].Value)
	}
	f.add("Body", m.Body)
	f.add("is", state(string(m.State), m.ReceiveCount, "received"))
	if m.DeadLetter != nil {
		f.add("died in", plain(fmt.Sprintf("%q of %s", m.DeadLetter.Queue, m.DeadLetter.Reason)))
	}
	return f.String()
}

func textOfRecord(r log.Record) string {
	var f fields
	f.add("at", plain(fmt.Sprintf("%d/%d", r.Partition, r.Offset)))
	f.add("Key", r.Key)
	for _, h := range r.Headers {
		f.add("header "+h.Name, h.Value)
	}
	f.add("Value", r.Value)
	return f.String()
}
