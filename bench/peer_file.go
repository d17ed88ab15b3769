package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

var filePeer = &Peer{
	Name:    "file",
	About:   "one file, a length before each record, no checksum, no index: the physical limit",
	Durable: "fdatasync, shared by the appends that wait meanwhile",
	Relaxed: "write(2) for each call",
	Log:     openFileLog,
}

// fileLog gathers what arrives while it syncs into the next write.
type fileLog struct {
	f       *os.File
	durable bool
	mu      struct {
		sync.Mutex
		open    *fileGroup // takes records; nil if nobody waits
		leading bool
		spare   []byte
	}
}

type fileGroup struct {
	buf  []byte
	done chan struct{}
	err  error
}

func openFileLog(e Env) (Log, error) {
	f, err := os.OpenFile(filepath.Join(e.Dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &fileLog{f: f, durable: e.durable()}, nil
}

func (l *fileLog) Append(records [][]byte) error {
	l.mu.Lock()
	g := l.mu.open
	if g == nil {
		g = &fileGroup{done: make(chan struct{}), buf: l.mu.spare[:0]}
		l.mu.spare = nil
		l.mu.open = g
	}
	for _, r := range records {
		g.buf = binary.BigEndian.AppendUint32(g.buf, uint32(len(r)))
		g.buf = append(g.buf, r...)
	}
	if l.mu.leading {
		l.mu.Unlock()
		<-g.done
		return g.err
	}
	l.mu.leading = true
	for first := g; l.mu.open != nil; {
		now := l.mu.open
		l.mu.open = nil
		l.mu.Unlock()
		l.write(now)
		l.mu.Lock()
		l.mu.spare = now.buf
		if now == first && l.mu.open != nil { // another goes on with the rest
			l.lead(l.mu.open)
			l.mu.Unlock()
			return first.err
		}
	}
	l.mu.leading = false
	l.mu.Unlock()
	return g.err
}

// lead has a goroutine write what waits, so that the caller can return.
func (l *fileLog) lead(g *fileGroup) {
	go func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for l.mu.open != nil {
			now := l.mu.open
			l.mu.open = nil
			l.mu.Unlock()
			l.write(now)
			l.mu.Lock()
			l.mu.spare = now.buf
		}
		l.mu.leading = false
	}()
}

func (l *fileLog) write(g *fileGroup) {
	_, g.err = l.f.Write(g.buf)
	if l.durable && g.err == nil {
		g.err = unix.Fdatasync(int(l.f.Fd()))
	}
	close(g.done)
}

func (l *fileLog) Replay(n int, f func([]byte) error) error {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(l.f, 256<<10)
	var record []byte
	for range n {
		head, err := r.Peek(4)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head))
		if record, err = r.Peek(4 + size); err != nil {
			return err
		}
		if err := f(record[4:]); err != nil {
			return err
		}
		if _, err := r.Discard(4 + size); err != nil {
			return err
		}
	}
	if _, err := r.Peek(1); !errors.Is(err, io.EOF) {
		return errors.New("there is more in the file than was appended")
	}
	return nil
}

func (l *fileLog) Close() error { return l.f.Close() }
