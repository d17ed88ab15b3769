package damage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// childEnv holds the plan of a re-executed test binary.
const childEnv = "PEBBLEMQ_DAMAGE_CHILD"

// child is a process that lives through a plan.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    chan report
	stderr tail
}

// outcome is what became of a child.
type outcome struct {
	Reports []report // but for those that only say where the child is
	Last    string   // the last call that began
	Ended   bool     // it went through its plan, or was killed as planned
	Hung    bool
	Exit    string // how it died, if it did
	Stderr  string
}

func startChild(p plan) (*child, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(os.Args[0]), out: make(chan report)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	if p.Stall {
		c.cmd.Dir = strings.TrimSuffix(p.Dir, "/data")
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.listen(out)
	return c, nil
}

// listen passes the reports on, and closes the channel when the child is gone.
func (c *child) listen(out io.Reader) {
	defer close(c.out)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			c.out <- r
		}
	}
}

// run starts a child and returns what became of it. At each pause it calls
// paused with the name of that. A child that is silent for too long gets SIGQUIT,
// to print the stacks of its goroutines.
func run(p plan, paused func(string) error) (outcome, error) {
	c, err := startChild(p)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	silence := time.NewTimer(*silent)
	defer silence.Stop()
	for {
		select {
		case r, more := <-c.out:
			if !more {
				c.gone(&o, p.Kill)
				return o, err
			}
			silence.Reset(*silent)
			if e := c.heard(&o, r, p.Kill || p.Stall, paused); e != nil {
				err = e
				_ = c.cmd.Process.Kill()
			}
		case <-silence.C:
			o.Hung = true
			_ = c.cmd.Process.Signal(syscall.SIGQUIT)
			time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
		}
	}
}

func (c *child) heard(o *outcome, r report, kill bool, paused func(string) error) error {
	switch r.Kind {
	case at:
		o.Last = r.What
	case pause:
		if err := paused(r.What); err != nil {
			return err
		}
		_, err := io.WriteString(c.in, "go\n")
		return err
	case end:
		o.Ended = true
		if kill {
			return c.cmd.Process.Kill()
		}
	default:
		o.Reports = append(o.Reports, r)
	}
	return nil
}

// gone notes how a child came to its end, after its output has ended.
func (c *child) gone(o *outcome, kill bool) {
	_ = c.in.Close()
	err := c.cmd.Wait()
	o.Stderr = c.stderr.String()
	if err != nil && !(kill && o.Ended) {
		o.Exit = err.Error()
	}
}

// tail keeps the beginning and the end of what is written to it.
type tail struct {
	mu         sync.Mutex
	head, rest []byte
}

const tailBytes = 1 << 20

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(p), tailBytes-len(t.head))
	t.head = append(t.head, p[:n]...)
	if t.rest = append(t.rest, p[n:]...); len(t.rest) > 2*tailBytes {
		t.rest = append([]byte(nil), t.rest[len(t.rest)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%s%s", t.head, t.rest)
}
