package transport

import (
	"errors"
	"fmt"
	"log"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// GossipConfig says who a node is and where it gossips. DefaultGossipConfig
// fills what has a default.
type GossipConfig struct {
	NodeID string // stable: the raft server id
	// Cluster names the cluster. It also labels every packet, so that two
	// clusters do not merge when one is given a seed of the other.
	Cluster string
	Region  string

	Bind      string   // host:port to listen on, TCP and UDP; port 0 takes a free one
	Advertise string   // host:port that others reach it at; empty: as bound
	Join      []string // host:port of other nodes, some of which may be down or unknown to DNS; may name this node
	// SecretKey of 16, 24 or 32 bytes encrypts gossip. Without it anyone who
	// reaches the port can read it, and tell this node anything.
	SecretKey []byte

	// What other nodes are told.
	RaftAddress, GRPCAddress, HTTPAddress string
	Version                               string
	LogVersion                            uint32
	BootstrapExpect                       int
	ClusterID                             string // if it is known already
	HasState                              bool   // raft.HasExistingState

	// JoinRetry is the first wait between attempts to join while nobody answers;
	// it doubles up to 30 s.
	JoinRetry time.Duration
	// Timing returns memberlist's intervals. With DefaultLANConfig a node that
	// vanished is called dead within about 4 to 24 s.
	Timing func() *memberlist.Config
}

// DefaultGossipConfig lacks identity and addresses.
func DefaultGossipConfig() GossipConfig {
	return GossipConfig{
		JoinRetry: time.Second,
		Timing:    memberlist.DefaultLANConfig,
	}
}

// Validate reports all problems at once.
func (c GossipConfig) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.NodeID != "", "no node id")
	need(c.Cluster != "" && len(c.Cluster) <= memberlist.LabelMaxSize, "cluster name of %d bytes, want 1 to %d", len(c.Cluster), memberlist.LabelMaxSize)
	need(c.RaftAddress != "", "no raft address to tell others")
	need(slices.Contains([]int{0, 16, 24, 32}, len(c.SecretKey)), "secret key of %d bytes, want 16, 24 or 32", len(c.SecretKey))
	need(len(c.ClusterID) <= maxClusterID, "cluster id of %d bytes, at most %d", len(c.ClusterID), maxClusterID)
	need(c.BootstrapExpect >= 0, "bootstrap-expect %d is negative", c.BootstrapExpect)
	need(c.JoinRetry > 0, "join retry must be positive")
	need(c.Timing != nil, "no timing")
	info := c.info()
	return errors.Join(errors.Join(errs...), info.fits())
}

func (c GossipConfig) info() NodeInfo {
	return NodeInfo{
		Cluster: c.Cluster, ClusterID: c.ClusterID, Region: c.Region,
		RaftAddress: c.RaftAddress, GRPCAddress: c.GRPCAddress, HTTPAddress: c.HTTPAddress,
		Version: c.Version, LogVersion: c.LogVersion,
		Expect: uint32(c.BootstrapExpect), HasState: c.HasState,
	}
}

func (g *Gossip) listConfig() (*memberlist.Config, error) {
	mc := g.cfg.Timing()
	var err error
	if mc.BindAddr, mc.BindPort, err = ipPort(g.cfg.Bind); err != nil {
		return nil, fmt.Errorf("gossip bind address: %w", err)
	}
	if g.cfg.Advertise != "" {
		if mc.AdvertiseAddr, mc.AdvertisePort, err = ipPort(g.cfg.Advertise); err != nil {
			return nil, fmt.Errorf("gossip advertise address: %w", err)
		}
	}
	mc.Name, mc.Label, mc.SecretKey = g.cfg.NodeID, g.cfg.Cluster, g.cfg.SecretKey
	// A node that comes back at another address, as in a container that was
	// moved, is taken for an impostor until its old self has been dead for this
	// long. Without it, until memberlist forgets the old one.
	mc.DeadNodeReclaimTime = mc.ProbeInterval
	d := gossipDelegate{g}
	mc.Delegate, mc.Events, mc.Conflict, mc.Merge, mc.Alive, mc.Ping = d, d, d, d, d, d
	mc.LogOutput, mc.Logger = nil, log.New(gossipLines{g.quiet}, "", 0)
	return mc, nil
}

// ipPort resolves a host and port to listen on. memberlist wants an IP address,
// and takes anything else for all of them.
func ipPort(address string) (ip string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port of %q: %w", address, err)
	}
	if host == "" {
		return "0.0.0.0", int(n), nil
	}
	if net.ParseIP(host) != nil {
		return host, int(n), nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", 0, err
	}
	return ips[0].String(), int(n), nil
}
