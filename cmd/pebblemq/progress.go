package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar with rate and remaining time on standard error. It shows nothing if that is no
// terminal.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress begins a bar. A total of -1 is not known.
func newProgress(what string, total int64, unit progressbar.Option) *progress {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(os.Stderr), unit,
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
	)}
}

// The units of a bar.
func inBytes() progressbar.Option { return progressbar.OptionShowBytes(true) }
func inItems() progressbar.Option { return progressbar.OptionShowIts() }

// set moves the bar to a count. The bar shows what it can: a terminal that does not take it is no
// reason to stop the work.
func (p *progress) set(n, total int64) {
	if p.bar == nil {
		return
	}
	if total > 0 && total != p.bar.GetMax64() {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(min(n, p.bar.GetMax64()))
}

// add moves the bar by n.
func (p *progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n)
	}
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
