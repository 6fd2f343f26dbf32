package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

// A worldFlag is a flag for one field of a world.
type worldFlag[W any] struct {
	name, usage string
	at          func(*W) any // pointer to the field
}

// define adds the flag with the field's value as its default.
func (f worldFlag[W]) define(set *pflag.FlagSet, w *W) {
	switch p := f.at(w).(type) {
	case *int:
		set.IntVar(p, f.name, *p, f.usage)
	case *int64:
		set.Int64Var(p, f.name, *p, f.usage)
	case *string:
		set.StringVar(p, f.name, *p, f.usage)
	case *bool:
		set.BoolVar(p, f.name, *p, f.usage)
	case *[]int:
		set.IntSliceVar(p, f.name, *p, f.usage)
	case *[]string:
		set.StringSliceVar(p, f.name, *p, f.usage)
	}
}

// copy sets the field of to as it is in from.
func (f worldFlag[W]) copy(to, from *W) {
	switch p := f.at(to).(type) {
	case *int:
		*p = *f.at(from).(*int)
	case *int64:
		*p = *f.at(from).(*int64)
	case *string:
		*p = *f.at(from).(*string)
	case *bool:
		*p = *f.at(from).(*bool)
	case *[]int:
		*p = *f.at(from).(*[]int)
	case *[]string:
		*p = *f.at(from).(*[]string)
	}
}

// flagNames lists the flags of a world, its presets first.
func flagNames[W any](flags []worldFlag[W]) []string {
	names := []string{"ci", "long"}
	for _, f := range flags {
		names = append(names, f.name)
	}
	return names
}

// presets are the worlds that flags start from.
type presets[W any] struct{ small, ci, long func() W }

// define adds the flags to a command. What it returns makes the world once they
// are parsed.
func (p presets[W]) define(c *cobra.Command, flags []worldFlag[W], bind func(*W) (model.Runner, error)) func() (model.Runner, error) {
	given := p.small()
	ci := c.Flags().Bool("ci", false, "start from the world that is explored with every change")
	long := c.Flags().Bool("long", false, "start from a larger world, for hours")
	for _, f := range flags {
		f.define(c.Flags(), &given)
	}
	return func() (model.Runner, error) {
		w := p.small()
		switch {
		case *ci && *long:
			return nil, errors.New("either ci or long")
		case *ci:
			w = p.ci()
		case *long:
			w = p.long()
		}
		for _, f := range flags {
			if c.Flags().Changed(f.name) {
				f.copy(&w, &given)
			}
		}
		return bind(&w)
	}
}
