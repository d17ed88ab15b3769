package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// confirm asks for the name of what is about to be changed for good, unless there is --yes. What is
// about to happen ends in no punctuation. Without a terminal to ask on, --yes is needed.
func (f *flags) confirm(c *cobra.Command, name, what string) error {
	if f.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return usageError{fmt.Errorf("%s; confirm with --yes", what)}
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s.\nType %s to go on: ", what, name)
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != name {
		return usageError{fmt.Errorf("nothing was changed: the name is %s", name)}
	}
	return nil
}
