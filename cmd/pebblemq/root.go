package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const long = `Look at a store of pebblemq, change it and copy it, while no other process has it open.

DIR is the directory of the store. Only load and restore create one. A queue or topic is
found by its name; --kind and --broker choose if several objects have the name.

Opening a store does what the program does that owns it: brokers publish the jobs that are
due, redrives go on, and messages whose time is over leave.

Exit codes: 0 done, 1 failed, 2 wrong usage or not confirmed, 3 not found, 4 damaged, 5 in use.`

// flags are those that all commands have.
type flags struct {
	json bool
	yes  bool
}

func newRoot() *cobra.Command {
	f := &flags{}
	root := &cobra.Command{
		Use:           "pebblemq",
		Short:         "Look at a store of pebblemq, change it and copy it",
		Long:          long,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q; see pebblemq help", args[0])}
			}
			return c.Help()
		},
	}
	root.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON, one object per line")
	root.PersistentFlags().BoolVarP(&f.yes, "yes", "y", false, "do what cannot be undone without asking")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		infoCommand(f), topicsCommand(f), queuesCommand(f), groupsCommand(f),
		browseCommand(f), tailCommand(f),
		appendCommand(f), publishCommand(f), sendCommand(f),
		purgeCommand(f), pauseCommand(f), resumeCommand(f), redriveCommand(f), resetCommand(f),
		checkpointCommand(f), restoreCommand(f), verifyCommand(f), salvageCommand(f),
		dumpCommand(f), loadCommand(f), serveCommand(f),
	)
	for _, c := range root.Commands() {
		c.Args = usage(c.Args)
	}
	return root
}

// usage marks the error of a check of arguments.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, c.UseLine())}
		}
		return nil
	}
}
