package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/spf13/cobra"
)

// content is the payload of what is put, from the arguments or from standard input.
type content struct {
	base64  bool
	headers []string
}

func (x *content) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&x.base64, "base64", false, "the payload is base64")
	c.Flags().StringArrayVarP(&x.headers, "header", "H", nil, "header as NAME=VALUE; may be repeated")
}

// read returns the payload: the argument with that index, or else standard input.
func (x *content) read(c *cobra.Command, args []string, index int) ([]byte, error) {
	if len(args) > index {
		return decodePayload(args[index], x.base64)
	}
	text, err := io.ReadAll(c.InOrStdin())
	if err != nil || !x.base64 {
		return text, err
	}
	return decodePayload(strings.TrimSpace(string(text)), true)
}

// each calls f for each header.
func (x *content) each(f func(name, value string)) error {
	for _, h := range x.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return usageError{fmt.Errorf("--header %q is not NAME=VALUE", h)}
		}
		f(name, value)
	}
	return nil
}

type appended struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

func appendCommand(f *flags) *cobra.Command {
	var x content
	var key string
	c := &cobra.Command{
		Use: "append DIR TOPIC [VALUE]", Short: "Append a record to a topic, by default from standard input", Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			r := log.Record{}
			if c.Flags().Changed("key") {
				r.Key = []byte(key)
			}
			err := x.each(func(name, value string) { r.Headers = append(r.Headers, log.Header{Name: name, Value: []byte(value)}) })
			if err != nil {
				return err
			}
			if r.Value, err = x.read(c, args, 2); err != nil {
				return err
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				t, err := log.LookupTopic(c.Context(), db, args[1])
				if err != nil {
					return err
				}
				at, err := t.Append(c.Context(), r)
				if err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, appended{args[1], at[0].Partition, at[0].Offset})
			})
		},
	}
	x.addFlags(c)
	c.Flags().StringVar(&key, "key", "", "key of the record; none by default")
	return c
}

type published struct {
	Broker   string `json:"broker"`
	Exchange string `json:"exchange"`
	Key      string `json:"key"`
	Routed   int    `json:"routed"`
}

func publishCommand(f *flags) *cobra.Command {
	var x content
	var exchange string
	m := workqueue.Message{}
	c := &cobra.Command{
		Use: "publish DIR BROKER KEY [BODY]", Short: "Publish a message through an exchange of a broker, by default from standard input",
		Long: "Publish a message. Without --exchange, KEY is the name of a work queue. A message that no binding\nmatches is an error.",
		Args: cobra.RangeArgs(3, 4),
		RunE: func(c *cobra.Command, args []string) error {
			m.Headers, m.Mandatory = make(map[string]string), true
			err := x.each(func(name, value string) { m.Headers[name] = value })
			if err != nil {
				return err
			}
			if m.Body, err = x.read(c, args, 3); err != nil {
				return err
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				b, err := workqueue.LookupBroker(c.Context(), db, args[1])
				if err != nil {
					return err
				}
				done, err := b.PublishAsync(c.Context(), exchange, args[2], m).Wait(c.Context())
				if err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, published{args[1], exchange, args[2], done.Routed})
			})
		},
	}
	x.addFlags(c)
	c.Flags().StringVar(&exchange, "exchange", "", "exchange; the default exchange without it")
	c.Flags().StringVar(&m.MessageID, "id", "", "message ID")
	c.Flags().Uint8Var(&m.Priority, "priority", 0, "priority")
	addDelay(c, &m.Delay)
	return c
}

func addDelay(c *cobra.Command, d *time.Duration) {
	c.Flags().DurationVar(d, "delay", 0, "how long to keep it from consumers, such as 10m")
}

type sent struct {
	Queue     string `json:"queue"`
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
}

func sendCommand(f *flags) *cobra.Command {
	var x content
	m := visibility.Message{}
	c := &cobra.Command{
		Use: "send DIR QUEUE [BODY]", Short: "Send a message to a visibility queue, by default from standard input", Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			m.Attributes = make(map[string]visibility.Attribute)
			err := x.each(func(name, value string) { m.Attributes[name] = visibility.StringAttribute(value) })
			if err != nil {
				return err
			}
			if m.Body, err = x.read(c, args, 2); err != nil {
				return err
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				q, err := visibility.LookupQueue(c.Context(), db, args[1])
				if err != nil {
					return err
				}
				r, err := q.SendBatch(c.Context(), []visibility.Message{m}, nil)
				if err == nil {
					err = r[0].Err
				}
				if err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, sent{args[1], r[0].ID, r[0].Duplicate})
			})
		},
	}
	x.addFlags(c)
	c.Flags().StringVar(&m.ID, "id", "", "message ID")
	c.Flags().StringVar(&m.Group, "group", "", "group, which a FIFO queue needs")
	c.Flags().StringVar(&m.DedupeID, "dedupe-id", "", "ID for deduplication")
	c.Flags().Uint8Var(&m.Priority, "priority", 0, "priority")
	addDelay(c, &m.Delay)
	return c
}
