package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// defaultPort is that of a node's gRPC listener.
const defaultPort = "7700"

// Forms of the answer on stdout.
const (
	asTable = "table"
	asJSON  = "json"
	asYAML  = "yaml" // policy get only
)

// options are the global flags: whom to ask, for how long, and how to answer.
type options struct {
	// addrs are gRPC addresses of nodes, asked in this order.
	addrs  []string
	output string
	// timeout bounds each call, connecting and trying other nodes included. Too
	// short a value, below a second or two, fails while a cluster elects.
	timeout time.Duration
	tls     tlsFlags
}

func defaultOptions() options {
	return options{addrs: []string{"127.0.0.1:" + defaultPort}, output: asTable, timeout: 5 * time.Second}
}

// Names of the global flags. Each can be set in the environment, see envName.
var globalFlags = []string{"addr", "output", "timeout", "tls-dir", "tls-ca", "tls-cert", "tls-key"}

// register defines the global flags with the present values as defaults.
func (o *options) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringSliceVar(&o.addrs, "addr", o.addrs, "gRPC `addresses` of nodes, tried in this order; the port may be left out")
	f.StringVarP(&o.output, "output", "o", o.output, "`form` of the answer: table or json")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "how long to wait for each answer of the cluster")
	f.StringVar(&o.tls.dir, "tls-dir", "", "use TLS with the ca.pem, client.pem and client-key.pem of this `directory`")
	f.StringVar(&o.tls.ca, "tls-ca", "", "use TLS; `file` with the certificates that nodes are checked against")
	f.StringVar(&o.tls.cert, "tls-cert", "", "use TLS; `file` with the certificate to show")
	f.StringVar(&o.tls.key, "tls-key", "", "use TLS; `file` with the key of the certificate to show")
	for _, name := range []string{"tls-ca", "tls-cert", "tls-key"} {
		_ = root.MarkPersistentFlagFilename(name, "pem")
	}
	_ = root.MarkPersistentFlagDirname("tls-dir")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{asTable, asJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// envName returns the variable that stands for a global flag.
func envName(flag string) string {
	return "TKCOORD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settle completes the options of a command that asks a cluster: flags that are
// not given are taken from the environment, then all of them are checked. forms
// are those that the command has beside table and json.
func (o *options) settle(cmd *cobra.Command, forms ...string) error {
	var errs []error
	for _, name := range globalFlags {
		value, set := os.LookupEnv(envName(name))
		if !set || cmd.Flags().Changed(name) {
			continue
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", envName(name), err))
		}
	}
	errs = append(errs, o.validate(forms...))
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	return nil
}

// validate reports everything that is wrong and completes the addresses.
func (o *options) validate(forms ...string) error {
	var errs []error
	forms = append([]string{asTable, asJSON}, forms...)
	if !slices.Contains(forms, o.output) {
		errs = append(errs, fmt.Errorf("--output: got %q, want %s", o.output, strings.Join(forms, " or ")))
	}
	if o.timeout < time.Millisecond || o.timeout > time.Hour {
		errs = append(errs, fmt.Errorf("--timeout: got %v, want 1ms to 1h", o.timeout))
	}
	if len(o.addrs) == 0 {
		errs = append(errs, errors.New("--addr: want at least one address"))
	}
	var complete []string
	for _, addr := range o.addrs {
		full, err := fullAddress(addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("--addr: %w", err))
			continue
		}
		if !slices.Contains(complete, full) {
			complete = append(complete, full)
		}
	}
	o.addrs = complete
	return errors.Join(append(errs, o.tls.validate())...)
}

// fullAddress adds the default port to an address without one.
func fullAddress(addr string) (string, error) {
	addr = strings.TrimSpace(addr)
	bare := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	if ip := net.ParseIP(bare); ip != nil || !strings.Contains(addr, ":") {
		addr = net.JoinHostPort(bare, defaultPort)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("got %q, want HOST:PORT or HOST", addr)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return "", fmt.Errorf("got %q, want a port from 1 to 65535", addr)
	}
	return addr, nil
}
