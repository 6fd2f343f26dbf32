package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// A Capability is something that a fault or a mode needs of the machine, or of
// how the cluster was set up.
type Capability string

const (
	// CanBuild is the Go toolchain, within the module.
	CanBuild Capability = "build"
	// CanLoopback is what the loopback mode needs.
	CanLoopback Capability = "loopback"
	// CanNetns is what the netns mode needs.
	CanNetns Capability = "netns"
	// CanPackets is a network that can lose, double and reorder every packet:
	// that of the netns mode.
	CanPackets Capability = "packets"
	// CanQuota is a processor quota by control group. Without it signals do.
	CanQuota Capability = "quota"
)

// A Finding is what was found out about one capability by trying it.
type Finding struct {
	Capability Capability `json:"capability"`
	OK         bool       `json:"ok"`
	For        string     `json:"for"` // what it is needed for
	Why        string     `json:"why,omitempty"`
}

// A probe tries out one capability. It leaves nothing behind.
type probe struct {
	capability Capability
	purpose    string
	try        func(context.Context) error
}

func probes() []probe {
	return []probe{
		{CanBuild, "building tkcoord with its seams", probeBuild},
		{CanLoopback, "hosts as processes, without root", func(context.Context) error { return probeLoopback() }},
		{CanNetns, "hosts as network namespaces (--netns)", func(context.Context) error { return probeNetns() }},
		{CanPackets, "losing, doubling and reordering all packets", func(context.Context) error { return probePackets() }},
		{CanQuota, "processor quotas; pausing in turns does instead", func(context.Context) error { return probeQuota() }},
	}
}

// Probe tries out what this machine can do.
func Probe(ctx context.Context) []Finding {
	var all []Finding
	for _, p := range probes() {
		f := Finding{Capability: p.capability, For: p.purpose, OK: true}
		if err := p.try(ctx); err != nil {
			f.OK, f.Why = false, strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		all = append(all, f)
	}
	return all
}

func probeBuild(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-m").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	if module := strings.TrimSpace(string(out)); !strings.HasPrefix(Program, module+"/") {
		return errors.New("the working directory is not within tkcoord's module")
	}
	return nil
}

// probePackets needs what probeNetns does. It is a capability of its own since a
// cluster on loopback lacks it on any machine.
func probePackets() error {
	if err := probeNetns(); err != nil {
		return fmt.Errorf("needs --netns: %w", err)
	}
	return nil
}

func probeQuota() error {
	q, err := OpenQuota(NewRunID())
	if err != nil {
		return err
	}
	return q.Close()
}

// Lacks returns why the cluster cannot be given a fault that needs something, ""
// if it can.
func (c *Cluster) Lacks(need Capability) string {
	switch need {
	case CanPackets, CanNetns:
		if c.cfg.Mode != Netns {
			return fmt.Sprintf("the hosts are on %s, run with --netns as root", c.cfg.Mode)
		}
	case CanLoopback:
		if c.cfg.Mode != Loopback {
			return fmt.Sprintf("the hosts are in %s", c.cfg.Mode)
		}
	case CanQuota:
		if c.quota == nil {
			return "this machine has no processor quotas"
		}
	default:
		for _, p := range probes() {
			if p.capability == need {
				if err := p.try(context.Background()); err != nil {
					return err.Error()
				}
				return ""
			}
		}
		return fmt.Sprintf("nobody knows what %q is", need)
	}
	return ""
}
