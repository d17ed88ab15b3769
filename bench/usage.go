package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// usage reads what a peer costs from /proc: of this process, or of the server's
// with its children. Where there is no /proc the figures stay 0, and are shown as
// not measured.
type usage struct {
	pid int // of a server; 0 is ourselves
	dir string

	// before is what our process took before the peer was opened: the program
	// with the code of all peers.
	before uint64

	mu struct {
		sync.Mutex
		highest uint64 // memory of a server
	}
}

// watch samples a server's memory until the returned function is called; our own
// peak is kept by the kernel.
func (u *usage) watch() (stop func()) {
	if u.pid == 0 {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			u.sampleServer()
			select {
			case <-t.C:
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (u *usage) sampleServer() {
	var sum uint64
	for _, pid := range family(u.pid) {
		sum += procField(pid, "smaps_rollup", "Pss:") << 10
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.highest = max(u.mu.highest, sum)
}

// reset begins a new peak.
func (u *usage) reset() {
	if u.pid == 0 {
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // else the peak is of the whole process
		return
	}
	u.mu.Lock()
	u.mu.highest = 0
	u.mu.Unlock()
	u.sampleServer()
}

// peak is the most memory that was resident since reset, in bytes, less what was
// before the peer.
func (u *usage) peak() uint64 {
	if u.pid == 0 {
		return max(procField(os.Getpid(), "status", "VmHWM:")<<10, u.before) - u.before
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.highest
}

// written is how many bytes have gone to the disk so far.
func (u *usage) written() uint64 {
	if u.pid == 0 {
		return procField(os.Getpid(), "io", "write_bytes:")
	}
	var sum uint64
	for _, pid := range family(u.pid) {
		sum += procField(pid, "io", "write_bytes:")
	}
	return sum
}

// disk is the space that the peer's directory takes.
func (u *usage) disk() uint64 {
	var sum uint64
	_ = filepath.WalkDir(u.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go under our eyes
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += uint64(st.Blocks) * 512
			}
		}
		return nil
	})
	return sum
}

// procField returns the number behind a name in a file of /proc, 0 if there is
// none.
func procField(pid int, file, name string) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.ParseUint(number, 10, 64)
			return n
		}
	}
	return 0
}

// family returns a process and all that descend from it.
func family(pid int) []int {
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", found[i]))
		for _, t := range tasks {
			text, _ := os.ReadFile(t)
			for _, word := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(word); err == nil {
					found = append(found, n)
				}
			}
		}
	}
	return found
}
