package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// life is one run of the intake, from its start to its end by SIGKILL or in
// good order.
type life struct {
	url string
	cmd *exec.Cmd
}

// startIntake runs this program again as the intake and waits for the address
// that it prints.
func startIntake(ctx context.Context, dir string) (*life, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-intake", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the intake did not start: %w", err), cmd.Wait())
	}
	return &life{url: strings.TrimSpace(line), cmd: cmd}, nil
}

// kill ends the process as a crash would: nothing is closed, nothing flushed.
// If it has ended already, that does nothing.
func (l *life) kill() {
	_ = l.cmd.Process.Kill() // it may be gone already
	_ = l.cmd.Wait()         // says only that it was killed
}

// finish waits until the intake has no work left, and lets it close its store.
func (l *life) finish(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/drain", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("drain: %s: %s", res.Status, body)
	}
	if err := l.cmd.Wait(); err != nil {
		return fmt.Errorf("the intake: %w", err)
	}
	return nil
}
