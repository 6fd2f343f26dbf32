package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A reaper knows one kind of thing that a run makes outside its directory and
// that outlives a harness which is killed. Processes and network namespaces do
// not, see netfault.Thread and netfault.Namespace.
type reaper struct {
	kind string
	// list returns the names of all things of that kind, of whomever.
	list func() ([]string, error)
	// remove removes one that nobody uses any more. It fails if it is in use.
	remove func(name string) error
}

func reapers() []reaper { return []reaper{groupReaper()} }

// Reap removes what runs have left behind whose harness is gone, and returns what
// it removed. Nothing else is touched: not what has another prefix, nor what
// belongs to a run that is under way.
func Reap() ([]string, error) {
	var removed []string
	var errs []error
	for _, r := range reapers() {
		names, err := r.list()
		errs = append(errs, err)
		for _, name := range names {
			if id, ours := runOf(name); !ours || underWay(id) {
				continue
			}
			if err := r.remove(name); err != nil {
				errs = append(errs, fmt.Errorf("leftover %s %s: %w", r.kind, name, err))
				continue
			}
			removed = append(removed, r.kind+" "+name)
		}
	}
	return removed, errors.Join(errs...)
}

func groupReaper() reaper {
	base, _, err := findGroups()
	if err != nil {
		return reaper{kind: "control group", list: func() ([]string, error) { return nil, nil }}
	}
	return reaper{
		kind: "control group",
		list: func() ([]string, error) {
			entries, err := os.ReadDir(base)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return names, err
		},
		remove: func(name string) error { return removeGroup(filepath.Join(base, name)) },
	}
}
