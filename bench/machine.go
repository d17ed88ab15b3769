package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what the figures depend on.
type Machine struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	Memory     uint64  `json:"memory_bytes"`
	Kernel     string  `json:"kernel"`
	FileSystem string  `json:"file_system"`
	Go         string  `json:"go"`
	Load       string  `json:"load"`      // of others, when the run began
	Fdatasync  Latency `json:"fdatasync"` // of a small append
}

func describeMachine(dir string) Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), CPU: runtime.GOARCH}
	if name := cpuName(); name != "" {
		m.CPU = name
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = uint64(info.Totalram) * uint64(info.Unit)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	m.FileSystem = fileSystem(dir)
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	m.Fdatasync = probeSync(dir)
	return m
}

func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimLeft(name, " \t:")
		}
	}
	return ""
}

func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "unknown"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.XFS_SUPER_MAGIC: "xfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", st.Type)
}

// inMemory says that nothing there survives a loss of power, so that an fsync
// costs nothing and the durable tables mean nothing.
func (m Machine) inMemory() bool { return m.FileSystem == "tmpfs" }

// probeSync measures appending 100 bytes and syncing them.
func probeSync(dir string) Latency {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return Latency{}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range 300 {
		start := time.Now()
		if _, err := f.Write(content(0, 100)); err != nil {
			return Latency{}
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return Latency{}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() }
	return Latency{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

func (m Machine) String() string {
	return fmt.Sprintf("%d x %s, %.0f GiB, %s, %s, %s; fdatasync of a small append p50 %s, p99 %s; load of others at the start %s",
		m.CPUs, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.FileSystem, m.Go,
		duration(m.Fdatasync.P50), duration(m.Fdatasync.P99), m.Load)
}
