package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells how far the program is: in one line that is written anew on a terminal, and in a
// line a second in a file or pipe.
type progress struct {
	out      io.Writer
	terminal bool
	last     string
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// during shows state until work returns, and then the line that work returns.
func (p *progress) during(state func() string, work func() (string, error)) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		p.follow(state, stop)
	}()
	line, err := work()
	close(stop)
	<-stopped
	if err != nil {
		p.end()
		return err
	}
	p.show(line)
	p.end()
	return nil
}

func (p *progress) follow(state func() string, stop chan struct{}) {
	pause := time.Second
	if p.terminal {
		pause = 100 * time.Millisecond
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			p.show(state())
		}
	}
}

// show replaces the line on a terminal, and prints one otherwise. A line that has not changed, or
// an empty one, is left out.
func (p *progress) show(line string) {
	if line == "" || line == p.last {
		return
	}
	p.last = line
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// end leaves the line on a terminal as it is.
func (p *progress) end() {
	if p.terminal && p.last != "" {
		fmt.Fprintln(p.out)
	}
	p.last = ""
}
