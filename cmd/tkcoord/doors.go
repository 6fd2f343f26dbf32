package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/api"
)

// doorOptions are the settings of the public services.
type doorOptions struct {
	fail                       string
	monitor                    string
	fleetSecret, monitorSecret string
}

// Forms of --monitor.
const (
	on  = "on"
	off = "off"
)

func defaultDoorOptions() doorOptions {
	return doorOptions{fail: string(api.FailClosed), monitor: on}
}

// contractEnv are the variables that the public contract has for some settings.
// Ours win over them.
var contractEnv = map[string]string{
	"fleet-secret":   "THROTTLEKIT_FLEET_SECRET",
	"monitor-secret": "THROTTLEKIT_MONITOR_SECRET",
}

func (o *doorOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.fail, "fail", o.fail, "`answer` of Check and CheckMany while nobody can decide: closed denies, so that no limit is ever exceeded; open allows everything")
	f.StringVar(&o.monitor, "monitor", o.monitor, "serve Monitor, which shows keys of requests: `on or off`")
	f.StringVar(&o.monitorSecret, "monitor-secret", "", "`secret` that callers of Monitor must show; without one only this machine's are served. Better set in "+envName("monitor-secret")+" or "+contractEnv["monitor-secret"]+": others can read command lines")
	f.StringVar(&o.fleetSecret, "fleet-secret", "", "`secret` that callers of Fleet must show, likewise; see "+envName("fleet-secret")+" and "+contractEnv["fleet-secret"])
}

// resolveDoors fills the settings from the environment only, for a command whose
// other flags are not settings.
func (o *doorOptions) resolveDoors(flags *pflag.FlagSet) error {
	some := pflag.NewFlagSet("doors", pflag.ContinueOnError)
	for _, name := range []string{"fail", "monitor", "monitor-secret", "fleet-secret"} {
		some.AddFlag(flags.Lookup(name))
	}
	return resolve(some, "", func(name string) string {
		if name == envName("config") {
			return ""
		}
		return os.Getenv(name)
	})
}

// validate reports every setting that is out of range.
func (o *doorOptions) validate() error {
	var errs []error
	if o.fail != string(api.FailClosed) && o.fail != string(api.FailOpen) {
		errs = append(errs, fmt.Errorf("--fail: got %q, want closed or open", o.fail))
	}
	if o.monitor != on && o.monitor != off {
		errs = append(errs, fmt.Errorf("--monitor: got %q, want on or off", o.monitor))
	}
	for _, s := range []struct{ flag, secret string }{{"monitor-secret", o.monitorSecret}, {"fleet-secret", o.fleetSecret}} {
		if !showable(s.secret) {
			errs = append(errs, fmt.Errorf("--%s: got a secret that no client could send, want at most %d printable ASCII characters, the first and the last no space", s.flag, maxSecret))
		}
	}
	return errors.Join(errs...)
}

const maxSecret = 1024

// showable reports whether a secret can be the value of request metadata.
func showable(secret string) bool {
	printable := strings.IndexFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	return len(secret) <= maxSecret && printable && secret == strings.TrimSpace(secret)
}

// warn says what these settings expose. plain is whether the doors are without
// TLS, beyond whether others than this machine's processes reach them.
func (o *doorOptions) warn(log *slog.Logger, plain, beyond bool) {
	if o.fail == string(api.FailOpen) {
		log.Warn("checks are allowed while nobody can decide: limits do not hold then", "setting", "--fail open")
	}
	if !plain || !beyond {
		return
	}
	log.Warn("the doors are open to other machines without TLS: who reaches them may change limits", "setting", "--insecure")
	if o.monitorSecret != "" || o.fleetSecret != "" {
		log.Warn("secrets travel in the clear", "setting", "--insecure")
	}
}
