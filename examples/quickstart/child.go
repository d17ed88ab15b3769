package main

import (
	"bufio"
	"bytes"
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
	log *bytes.Buffer // what it wrote to its standard error; to be read when it has ended
}

// startIntake runs this program again as the intake and waits for the address
// that it prints.
func startIntake(ctx context.Context, dir string) (*life, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-intake", dir)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the intake did not start: %w", err), cmd.Wait(), errors.New(log.String()))
	}
	return &life{url: strings.TrimSpace(line), cmd: cmd, log: log}, nil
}

// kill ends the process as a crash would: nothing is closed, nothing flushed.
// If it has ended already, that does nothing.
func (l *life) kill() {
	_ = l.cmd.Process.Kill() // it may be gone already
	_ = l.cmd.Wait()         // says only that it was killed
}

// work tells how many jobs the intake has left, or nothing if it does not answer.
func (l *life) work(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/left", nil)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "" // the intake has drained and closed
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return fmt.Sprintf("workers:     %s jobs left", body)
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
		l.kill()
		return fmt.Errorf("drain: %s: %s\n%s", res.Status, body, l.log)
	}
	if err := l.cmd.Wait(); err != nil {
		return fmt.Errorf("the intake: %w\n%s", err, l.log)
	}
	return nil
}
