package pebblemqtest_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// exampleT is the test of an example. It prints why it fails.
type exampleT struct {
	testing.TB
	ctx     context.Context
	cleanup []func()
}

// example runs what would be the body of a test.
func example(body func(t testing.TB)) {
	ctx, stop := context.WithCancel(context.Background())
	t := &exampleT{ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			stop()
			for i := len(t.cleanup) - 1; i >= 0; i-- {
				t.cleanup[i]()
			}
		}()
		body(t)
	}()
	<-done
}

func (t *exampleT) Helper()                  {}
func (t *exampleT) Context() context.Context { return t.ctx }
func (t *exampleT) Cleanup(f func())         { t.cleanup = append(t.cleanup, f) }
func (t *exampleT) Logf(string, ...any)      {}

func (t *exampleT) Errorf(format string, args ...any) { fmt.Printf("FAIL: "+format+"\n", args...) }

func (t *exampleT) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}
