package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// resolve fills flags that were not given on the command line: from the
// environment (TKCOORD_NODE_ID for --node-id; for some settings the public contract
// has a variable, too, over which ours wins), else from the settings file
// (node-id: ...), else they keep their defaults. The command line wins over the
// environment, and that over the file, whose name is in TKCOORD_CONFIG if file is
// empty. Unknown keys in the file, and values that do not fit, are all reported
// at once.
func resolve(flags *pflag.FlagSet, file string, getenv func(string) string) error {
	given, errs := map[string]string{}, []error(nil)
	if file == "" {
		file = getenv(envName("config"))
	}
	if file != "" {
		var err error
		if given, err = readSettings(flags, file); err != nil {
			errs = append(errs, err)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !isSetting(f.Name) {
			return
		}
		for _, name := range []string{envName(f.Name), contractEnv[f.Name]} {
			if name == "" {
				continue
			}
			if v := getenv(name); v != "" {
				if err := f.Value.Set(v); err != nil {
					errs = append(errs, fmt.Errorf("%s=%q: %w", name, v, err))
				}
				f.Changed = true
				return
			}
		}
		if v, ok := given[f.Name]; ok {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %q: %w", file, f.Name, v, err))
			}
			f.Changed = true
		}
	})
	return errors.Join(errs...)
}

// isSetting reports whether a flag makes sense elsewhere than on a command line.
func isSetting(flag string) bool { return flag != "config" && flag != "help" }

// readSettings reads a flat YAML file whose keys are names of flags.
func readSettings(flags *pflag.FlagSet, file string) (map[string]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want a mapping of settings to values", file, root.Line)
	}
	out, lines := map[string]string{}, map[string]int{}
	var errs []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := strings.ReplaceAll(key.Value, "_", "-")
		switch {
		case flags.Lookup(name) == nil || !isSetting(name):
			errs = append(errs, fmt.Errorf("%s:%d: unknown setting %q", file, key.Line, key.Value))
		case lines[name] != 0:
			errs = append(errs, fmt.Errorf("%s:%d: %s is set in line %d already", file, key.Line, name, lines[name]))
		case value.Kind == yaml.SequenceNode:
			items := make([]string, len(value.Content))
			for j, c := range value.Content {
				items[j] = c.Value
			}
			out[name] = strings.Join(items, ",")
		case value.Kind != yaml.ScalarNode:
			errs = append(errs, fmt.Errorf("%s:%d: %s: want a single value or a list", file, value.Line, key.Value))
		default:
			out[name] = value.Value
		}
		lines[name] = key.Line
	}
	return out, errors.Join(errs...)
}
