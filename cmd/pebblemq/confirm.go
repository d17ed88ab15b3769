package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// confirm asks the user to type the name of the object that a command is about to change. With --yes
// it does not ask. Without a terminal it returns an error that names --yes. The text says what the
// command does, without a full stop.
func (f *flags) confirm(c *cobra.Command, name, text string) error {
	if f.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return usageError{fmt.Errorf("%s; confirm with --yes", text)}
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s.\nType %s to go on: ", text, name)
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(line) != name {
		return usageError{fmt.Errorf("nothing was changed: the name is %s", name)}
	}
	return nil
}
