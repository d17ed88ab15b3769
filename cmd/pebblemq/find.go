package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/spf13/cobra"
)

// choice picks one of several objects with the same name.
type choice struct {
	kind   string
	broker string
}

var kindNames = map[string]string{"topic": "topic", "work": "work queue", "visibility": "visibility queue"}

func (x *choice) addFlags(c *cobra.Command, kinds ...string) {
	c.Flags().StringVar(&x.kind, "kind", "", "kind of the object: "+strings.Join(kinds, ", "))
	complete := cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc("kind", complete); err != nil {
		panic(err) // the flag was added above
	}
	c.Flags().StringVar(&x.broker, "broker", "", "broker of a work queue")
}

// find returns the one object with that name. Kinds are those of flag --kind that the command can
// deal with.
func (x *choice) find(ctx context.Context, db *pebblemq.DB, name string, kinds ...string) (pebblemq.Object, error) {
	if x.kind != "" && !slices.Contains(kinds, x.kind) {
		return pebblemq.Object{}, usageError{fmt.Errorf("--kind %q is not one of %s", x.kind, strings.Join(kinds, ", "))}
	}
	d, err := describe(ctx, db)
	if err != nil {
		return pebblemq.Object{}, err
	}
	var found []pebblemq.Object
	for _, o := range d.Objects {
		if o.Name == name && x.matches(o, kinds) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return pebblemq.Object{}, fmt.Errorf("%w: the store has no %s %q", pebblemq.ErrNotFound, x.wanted(kinds), name)
	case 1:
		return found[0], nil
	}
	return pebblemq.Object{}, usageError{fmt.Errorf("%q is the name of %s and %s; choose with --kind or --broker", name, title(found[0]), title(found[1]))}
}

func (x *choice) matches(o pebblemq.Object, kinds []string) bool {
	if x.broker != "" && (o.Kind != "work queue" || o.Parent != x.broker) {
		return false
	}
	for _, k := range kinds {
		if kindNames[k] == o.Kind && (x.kind == "" || x.kind == k) {
			return true
		}
	}
	return false
}

// wanted says what kind of object was looked for.
func (x *choice) wanted(kinds []string) string {
	if x.broker != "" {
		return fmt.Sprintf("work queue of broker %q", x.broker)
	}
	if x.kind != "" {
		return kindNames[x.kind]
	}
	var list []string
	for _, k := range kinds {
		list = append(list, kindNames[k])
	}
	return strings.Join(list, " or ")
}

// title names an object in a message.
func title(o pebblemq.Object) string {
	switch o.Kind {
	case "work queue":
		return fmt.Sprintf("work queue %q of broker %q", o.Name, o.Parent)
	case "group":
		return fmt.Sprintf("group %q of topic %q", o.Name, o.Parent)
	}
	return fmt.Sprintf("%s %q", o.Kind, o.Name)
}
