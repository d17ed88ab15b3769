package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/spf13/cobra"
)

func loadCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "load DIR [FILE]", Short: "Load what dump has printed, by default from standard input", Args: cobra.RangeArgs(1, 2),
		Long: "Load what dump has printed. DIR is created if need be; after an error it is removed again. Objects\n" +
			"are added to a store that is there, and one of the same name is an error. Keys of the application\n" +
			"replace those that are there.\n\n" + carries,
		RunE: func(c *cobra.Command, args []string) error {
			in, err := openInput(c, args)
			if err != nil {
				return err
			}
			defer in.Close()
			there, err := isStore(args[0])
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if there {
				if err := f.confirm(c, args[0], "load adds objects to the store in "+args[0]); err != nil {
					return err
				}
			}
			err = openStore(args[0], func(db *pebblemq.DB) error { return load(c, db, in) })
			if err == nil || errors.Is(err, pebblemq.ErrLocked) {
				return err
			}
			if there {
				return fmt.Errorf("%w; what was loaded before stays", err)
			}
			return errors.Join(err, os.RemoveAll(args[0]))
		},
	}
}

// input is the lines to load, with a bar that follows the reading.
type input struct {
	io.Reader
	file *os.File // nil for standard input
	bar  *progress
}

func openInput(c *cobra.Command, args []string) (*input, error) {
	if len(args) < 2 {
		return &input{Reader: c.InOrStdin(), bar: newProgress("load", -1, inBytes())}, nil
	}
	file, err := os.Open(args[1])
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &input{file, file, newProgress("load", info.Size(), inBytes())}, nil
}

func (i *input) Read(b []byte) (int, error) {
	n, err := i.Reader.Read(b)
	i.bar.add(int64(n))
	return n, err
}

func (i *input) Close() error {
	i.bar.end()
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

// load adds what the lines say. The changes are durable when the store is closed.
func load(c *cobra.Command, db *pebblemq.DB, in io.Reader) error {
	shared := &loading{ctx: pebblemq.WithDurability(c.Context(), pebblemq.NoSync), db: db, notes: make(notes)}
	l := &loader{
		loading: shared,
		topics:  topicLoader{loading: shared, topics: make(map[string]*log.Topic)},
		queues:  visibilityLoader{loading: shared, queues: make(map[string]*visibility.Queue)},
		keys:    keyLoader{loading: shared, namespaces: make(map[string]*idempotency.Namespace)},
		brokers: brokerLoader{loading: shared, brokers: make(map[string]*loadedBroker)},
	}
	err := l.all(in)
	l.notes.print(c.ErrOrStderr())
	return err
}

// loading is a load under way. An object is made without the settings that would refuse, drop or
// delay what it held. The functions in finish give it all its settings at the end.
type loading struct {
	ctx    context.Context
	db     *pebblemq.DB
	notes  notes
	finish []func() error
}

func (l *loading) later(f func() error) { l.finish = append(l.finish, f) }

// loader reads the lines.
type loader struct {
	*loading
	lines   int64
	topics  topicLoader
	queues  visibilityLoader
	keys    keyLoader
	brokers brokerLoader
}

func (l *loader) all(in io.Reader) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	lines.DisallowUnknownFields()
	for {
		var x line
		err := lines.Decode(&x)
		switch {
		case errors.Is(err, io.EOF):
			return usageError{fmt.Errorf("line %d: the dump ends without its last line, so it was cut short", l.lines+1)}
		case err != nil:
			return usageError{fmt.Errorf("line %d: %w", l.lines+1, err)}
		case l.lines == 0 && x.Format != dumpFormat:
			return usageError{fmt.Errorf("line 1: not a dump of format %d", dumpFormat)}
		case fields(x) != 1:
			return usageError{fmt.Errorf("line %d: it has %d objects and should have one", l.lines+1, fields(x))}
		case x.End != nil:
			return l.end(x.End, lines)
		}
		if err := l.put(x); err != nil {
			return fmt.Errorf("line %d: %w", l.lines+1, err)
		}
		l.lines++
	}
}

func (l *loader) put(x line) error {
	if x.Record != nil {
		return l.topics.record(x.Record)
	}
	if err := l.topics.flush(); err != nil {
		return err
	}
	switch {
	case x.Topic != nil:
		return l.topics.topic(x.Topic)
	case x.Group != nil:
		return l.topics.group(x.Group)
	case x.VisibilityQueue != nil:
		return l.queues.queue(x.VisibilityQueue)
	case x.VisibilityMessage != nil:
		return l.queues.message(x.VisibilityMessage)
	case x.Namespace != nil:
		return l.keys.namespace(x.Namespace)
	case x.Key != nil:
		return l.keys.key(x.Key)
	case x.Broker != nil:
		return l.brokers.broker(x.Broker)
	case x.Message != nil:
		return l.brokers.message(x.Message)
	case x.Job != nil:
		return l.brokers.job(x.Job)
	case x.Entry != nil:
		return l.keys.entry(x.Entry)
	}
	return nil
}

// end gives all objects their settings.
func (l *loader) end(x *endLine, lines *json.Decoder) error {
	if lines.More() {
		return usageError{errors.New("there are lines after the last one of the dump")}
	}
	if err := l.topics.flush(); err != nil {
		return err
	}
	if x.Lines != l.lines {
		return usageError{fmt.Errorf("the dump has %d lines and should have %d", l.lines, x.Lines)}
	}
	for _, f := range l.finish {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// fields counts the fields of a line that are set.
func fields(x line) (n int) {
	v := reflect.ValueOf(x)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			n++
		}
	}
	return n
}

// unless returns an error if an object exists, which err of its lookup tells.
func unless(err error, what, name string) error {
	if err == nil {
		return fmt.Errorf("%s %q exists already", what, name)
	}
	if errors.Is(err, pebblemq.ErrNotFound) {
		return nil
	}
	return err
}

// missing is the error of a line about an object that no line before it has made.
func missing(what, name string) error {
	return usageError{fmt.Errorf("%s %q has no line of its own before this one", what, name)}
}
