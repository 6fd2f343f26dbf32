// Command interop runs clients of the public contract that others wrote against a
// cluster of three real nodes, first in peace and then while the leader is killed:
//
//	go run ./interop
//
// Clients come from their package registries, in pinned versions. What cannot be
// installed is named in the table that is printed at the end. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	cache   string
	only    string
	kills   int
	limit   time.Duration
	prepare time.Duration
	skipped string
	keep    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o := options{}
	flag.StringVar(&o.cache, "cache", defaultCache(), "`directory` that clients are installed into, and found in the next time; empty for a temporary one")
	flag.StringVar(&o.only, "only", "", "short `names` of the clients to run, with commas: sync, async, web, node, grpcurl")
	flag.IntVar(&o.kills, "kills", 2, "how `often` the leader is killed")
	flag.DurationVar(&o.limit, "limit", 3*time.Minute, "most `time` for all of it")
	flag.DurationVar(&o.prepare, "prepare", 90*time.Second, "most `time` for installing clients")
	flag.StringVar(&o.skipped, "skipped", "", "`file` to write what was left out to, one line each")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory with the logs of nodes and suites")
	flag.Parse()
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "tkcoord-interop")
}

// errFailed: the table says what is wrong.
var errFailed = errors.New("failed, see above")

func run(ctx context.Context, o *options) (err error) {
	if err := inRepository(); err != nil {
		return err
	}
	begin := time.Now()
	told := ctx // ends with a Ctrl-C
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done within %v", o.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "tkcoord-interop-")
	if err != nil {
		return err
	}
	defer func() {
		if (err == nil || told.Err() != nil) && !o.keep {
			err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		fmt.Printf("\nlogs are in %s\n", dir)
	}()
	if o.cache == "" {
		o.cache = filepath.Join(dir, "cache")
	}
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return err
	}

	fmt.Println("building tkcoord and installing clients")
	t, err := prepare(ctx, dir, o.cache, o.prepare)
	if err != nil {
		return err
	}
	fmt.Printf("ready after %.0f s\n", time.Since(begin).Seconds())

	r := &round{dir: dir, tools: t, kills: o.kills}
	r.choose(o.only)
	if err := r.writeSkipped(o.skipped); err != nil {
		return err
	}
	if len(r.clients) == 0 {
		r.print(os.Stdout)
		return errors.New("no client could be run")
	}
	err = r.run(ctx)
	r.print(os.Stdout)
	fmt.Printf("took %.0f s\n", time.Since(begin).Seconds())
	switch {
	case err != nil:
		return errors.Join(err, context.Cause(ctx))
	case r.failed():
		return errFailed
	}
	return nil
}

// choose fills in the clients that can be run, and why others cannot.
func (r *round) choose(only string) {
	for i := range clients {
		c := &clients[i]
		why, missing := r.tools.missing[c.needs]
		switch {
		case only != "" && !contains(only, c.name):
			r.skipped = append(r.skipped, c.title+": not asked for")
		case missing:
			r.skipped = append(r.skipped, c.title+": could not be installed: "+why)
		default:
			r.clients = append(r.clients, c)
		}
	}
}

func contains(names, name string) bool {
	for n := range strings.SplitSeq(names, ",") {
		if strings.TrimSpace(n) == name {
			return true
		}
	}
	return false
}

func (r *round) writeSkipped(file string) error {
	if file == "" {
		return nil
	}
	text := ""
	for _, s := range r.skipped {
		text += s + "\n"
	}
	return os.WriteFile(file, []byte(text), 0o644)
}
