package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The settings of the public doors come from flags, from our variables and from
// those of the contract, in this order.
func TestDoorSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want doorOptions
	}{
		{"defaults", nil, nil, doorOptions{fail: "closed", monitor: "on"}},
		{"flags", []string{"--fail=open", "--monitor=off", "--fleet-secret=f", "--monitor-secret=m"}, nil, doorOptions{fail: "open", monitor: "off", fleetSecret: "f", monitorSecret: "m"}},
		{"the contract's variables", nil, map[string]string{"THROTTLEKIT_FLEET_SECRET": "f", "THROTTLEKIT_MONITOR_SECRET": "m"}, doorOptions{fail: "closed", monitor: "on", fleetSecret: "f", monitorSecret: "m"}},
		{"ours win over them", nil, map[string]string{"THROTTLEKIT_FLEET_SECRET": "x", "TKCOORD_FLEET_SECRET": "f", "TKCOORD_FAIL": "open"}, doorOptions{fail: "open", monitor: "on", fleetSecret: "f"}},
		{"flags win over all", []string{"--fleet-secret=f"}, map[string]string{"THROTTLEKIT_FLEET_SECRET": "x", "TKCOORD_FLEET_SECRET": "y"}, doorOptions{fail: "closed", monitor: "on", fleetSecret: "f"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			t.Setenv("TKCOORD_CONFIG", "/nowhere") // is not read for these alone
			o := defaultDoorOptions()
			f := pflag.NewFlagSet("test", pflag.ContinueOnError)
			o.register(f)
			if err := f.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			if err := o.resolveDoors(f); err != nil || o != c.want {
				t.Errorf("got %+v, %v, want %+v", o, err, c.want)
			}
		})
	}
}

func TestDoorSettingsRefused(t *testing.T) {
	for flag, want := range map[string]string{
		"--fail=maybe":             `--fail: got "maybe", want closed or open`,
		"--fail=":                  `--fail: got "", want closed or open`,
		"--monitor=yes":            `--monitor: got "yes", want on or off`,
		"--fleet-secret=schlüssel": "--fleet-secret: got a secret that no client could send",
		"--monitor-secret= x":      "--monitor-secret: got a secret that no client could send",
		"--monitor-secret=a\nb":    "--monitor-secret: got a secret that no client could send",
	} {
		for _, cmd := range []string{"serve", "dev"} {
			r := tkcoord(t, cmd, flag)
			if r.code != exitUsage || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "schl") {
				t.Errorf("%s %q: %d, %s, want %s", cmd, flag, r.code, r.stderr, want)
			}
		}
	}
}

// What a setting exposes is said once, at the start.
func TestDoorWarnings(t *testing.T) {
	for _, c := range []struct {
		name          string
		o             doorOptions
		plain, beyond bool
		want          []string
	}{
		{"nothing", doorOptions{fail: "closed", fleetSecret: "f"}, true, false, nil},
		{"TLS", doorOptions{fail: "closed", fleetSecret: "f"}, false, true, nil},
		{"open", doorOptions{fail: "open"}, false, false, []string{"limits do not hold then"}},
		{"beyond, plain", doorOptions{fail: "closed"}, true, true, []string{"open to other machines without TLS"}},
		{"beyond, plain, secret", doorOptions{fail: "closed", monitorSecret: "s3cret"}, true, true, []string{"open to other machines without TLS", "secrets travel in the clear"}},
	} {
		var out bytes.Buffer
		c.o.warn(slog.New(slog.NewTextHandler(&out, nil)), c.plain, c.beyond)
		said := out.String()
		if strings.Count(said, "level=WARN") != len(c.want) || strings.Contains(said, "s3cret") {
			t.Errorf("%s: it says %s, want %d warnings", c.name, said, len(c.want))
		}
		for _, w := range c.want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: it says %s, want %s", c.name, said, w)
			}
		}
	}
}
