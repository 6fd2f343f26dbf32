package run

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// Bounds of the end of a run.
const (
	lastWriteTime = 15 * time.Second
	digestTime    = 45 * time.Second
	retryEvery    = 100 * time.Millisecond
)

// end makes the last write and has the replicas compared. Failing is for the
// checkers to judge, not an error of the run.
func (r *runner) end(ctx context.Context) error {
	r.say.linef("end", "last write")
	began := history.Now()
	last := &check.LastWrite{At: began}
	index, err := r.lastWrite(ctx)
	last.Index, last.Took = index, history.Now().Sub(began)
	if err != nil {
		last.Error = err.Error()
	}
	r.meta.Last, r.meta.Committed = last, index
	began = history.Now()
	d, err := r.compare(ctx)
	if d != nil {
		d.Took = history.Now().Sub(began)
		r.meta.Digests, r.meta.Committed = d, max(index, d.Index)
	}
	if err != nil {
		r.say.linef("end", "replicas not compared: %v", err)
		r.stacks(func(n *host.Node) bool { return d == nil || !complete(d, []string{n.Name()}) })
	}
	return ctx.Err()
}

// stacks makes nodes print what their goroutines do, in which they end. What
// keeps a node from catching up, or from ending, is seldom in its log.
func (r *runner) stacks(of func(*host.Node) bool) {
	for _, n := range r.cluster.Nodes() {
		if !of(n) {
			continue
		}
		withdraw, err := n.Excuse()
		if err != nil {
			continue // it does not run
		}
		r.say.linef("end", "%s prints its stacks", n.Name())
		if err := syscall.Kill(n.PID(), syscall.SIGQUIT); err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), retryEvery*20)
			_ = n.Wait(ctx)
			cancel()
		}
		withdraw()
	}
}

// lastWrite makes one exchange, through whichever node takes it.
func (r *runner) lastWrite(ctx context.Context) (index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lastWriteTime)
	defer cancel()
	incarnation := rand.Uint64() | 1
	for seq := uint64(1); ; seq++ {
		for _, n := range r.cluster.Nodes() {
			res, err := r.exchange(ctx, n, &tkcoordv1.ExchangeRequest{EdgeId: "final", Incarnation: incarnation, Seq: seq})
			if err == nil {
				return res.Index, nil
			}
			if ctx.Err() != nil {
				return 0, err
			}
			_ = pass(ctx, retryEvery)
		}
	}
}

// exchange makes one exchange of the run's own and records it.
func (r *runner) exchange(ctx context.Context, n *host.Node, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	conn, err := n.Conn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	op := r.final.Call(history.Call{Kind: history.KindExchange, Target: n.Name(), Exchange: &history.Exchange{Edge: req.EdgeId, Incarnation: req.Incarnation, Session: req.Session, Seq: req.Seq}})
	res, err := tkcoordv1.NewEdgeClient(conn).Exchange(ctx, req)
	ret := history.Return{Op: op, At: history.Now(), Outcome: history.OK}
	if err != nil {
		ret.Outcome, ret.Error = history.Info, err.Error()
	} else {
		ret.Reply = &history.Reply{Session: res.Session, Index: res.Index, Clock: escrow.Millis(res.ClockMs)}
	}
	r.final.Return(ret)
	return res, err
}

// compare asks for the digests of all replicas until each node has told its own:
// one that is still catching up has none in time.
func (r *runner) compare(ctx context.Context) (*check.Digests, error) {
	ctx, cancel := context.WithTimeout(ctx, digestTime)
	defer cancel()
	var best *check.Digests
	for {
		d, err := r.digests(ctx)
		if err == nil {
			best = d
			if complete(d, r.meta.Nodes) {
				return d, nil
			}
		}
		if perr := pass(ctx, retryEvery); perr != nil {
			return best, errors.Join(perr, err)
		}
	}
}

func (r *runner) digests(ctx context.Context) (*check.Digests, error) {
	leader, err := r.cluster.Leader(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := leader.Conn()
	if err != nil {
		return nil, err
	}
	res, err := tkcoordv1.NewAdminClient(conn).Digest(ctx, &tkcoordv1.DigestRequest{})
	if err != nil {
		return nil, err
	}
	d := &check.Digests{Index: res.Index, Nodes: make(map[string]string)}
	for _, n := range res.Nodes {
		d.Nodes[n.NodeId] = n.Digest
		if n.Digest == "" {
			d.Nodes[n.NodeId] = "error: " + n.Error
		}
	}
	return d, nil
}

// complete reports whether all nodes told their digest.
func complete(d *check.Digests, nodes []string) bool {
	for _, n := range nodes {
		if s := d.Nodes[n]; s == "" || strings.HasPrefix(s, "error") {
			return false
		}
	}
	return true
}

// collect reads the logs of the stopped nodes and writes down what the run was.
func (r *runner) collect() error {
	var nodes []raftlog.NodeLog
	for _, n := range r.meta.Nodes {
		l, err := raftlog.ReadNode(n, filepath.Join(r.path(check.HostsDir), n, "data"))
		if err != nil {
			return err
		}
		nodes = append(nodes, l)
	}
	if err := raftlog.Merge(nodes, nil, r.meta.Committed).Save(r.path(check.LogFile)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r.meta, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(check.MetaFile), append(data, '\n'), 0o644)
}

// dropData removes the nodes' data directories. What the report needs of them
// has been collected.
func (r *runner) dropData() error {
	var errs []error
	for _, n := range r.meta.Nodes {
		errs = append(errs, os.RemoveAll(filepath.Join(r.path(check.HostsDir), n, "data")))
	}
	return errors.Join(errs...)
}
