package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
)

// A catalog is the policies in force as this node's replica has them, for
// finding one without waiting for an entry that is being applied. It lags behind
// the replica for as long as run takes to notice. Safe for concurrent use.
type catalog struct {
	replica *transport.Replica
	now     atomic.Pointer[page]

	mu sync.Mutex // makes refresh one at a time, so that no page replaces a newer one
}

// A page is the catalog at one version of the policies. It never changes.
type page struct {
	version uint64
	all     []*entry // by name
	by      map[string]*entry
	leases  bool // whether some policy is federated

	// What errors list, made when first needed.
	configured, leasable func() string
}

// An entry is one policy.
type entry struct {
	policy.Policy
	ceiling int64 // what its decisions report as their limit
}

func newCatalog(r *transport.Replica) *catalog {
	c := &catalog{replica: r}
	c.now.Store(newPage(0, nil))
	c.refresh()
	return c
}

// run keeps the catalog new until ctx ends.
func (c *catalog) run(ctx context.Context) {
	for {
		changed := c.replica.Changed() // NB: before the refresh, so that no change falls between
		c.refresh()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// refresh takes what the replica has.
func (c *catalog) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var version uint64
	var all []fsm.PolicyStatus
	c.replica.Query(func(m *fsm.Machine) {
		if version = m.PolicyVersion(); version != c.now.Load().version {
			version, all = m.Policies()
		}
	})
	if version != c.now.Load().version {
		c.now.Store(newPage(version, all))
	}
}

func newPage(version uint64, all []fsm.PolicyStatus) *page {
	p := &page{version: version, by: make(map[string]*entry, len(all))}
	for i := range all {
		e := &entry{Policy: all[i].Policy, ceiling: ceiling(&all[i].Policy)}
		p.all, p.by[e.Name] = append(p.all, e), e
		p.leases = p.leases || e.Kind == policy.Federated
	}
	p.configured = sync.OnceValue(func() string { return p.list(limiters, meters, admitters) })
	p.leasable = sync.OnceValue(func() string { return p.list(leasable) })
	return p
}

// ceiling is what the decisions of a policy report as their limit.
func ceiling(p *policy.Policy) int64 {
	if p.Strategy == "" {
		return int64(p.Limit)
	}
	s, err := strategy.New(p.Params())
	if err != nil {
		return int64(p.Limit)
	}
	return int64(s.Limit())
}

// find returns the entry of a policy, nil if there is none.
func (c *catalog) find(name string) *entry { return c.now.Load().by[name] }

// ceiling returns what the decisions of a policy report as their limit, 0 if there
// is no such policy.
func (c *catalog) ceiling(name string) int64 {
	if e := c.find(name); e != nil {
		return e.ceiling
	}
	return 0
}

// supports reports whether a policy has an operation. Release and Heartbeat are
// not of a policy.
func supports(p *policy.Policy, op tkcoordv1.OperationKind) bool {
	switch op {
	case tkcoordv1.OperationKind_OPERATION_KIND_CHECK, tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY:
		return p.Kind == policy.Plain || p.Kind == policy.TwoTier || p.Kind == policy.Federated
	case tkcoordv1.OperationKind_OPERATION_KIND_PEEK, tkcoordv1.OperationKind_OPERATION_KIND_FORECAST:
		return p.Kind == policy.Plain || p.Kind == policy.TwoTier && p.Tier.Mode == policy.Strict
	case tkcoordv1.OperationKind_OPERATION_KIND_DEBIT:
		return p.Kind == policy.Meter
	case tkcoordv1.OperationKind_OPERATION_KIND_ADMIT:
		return p.Kind == policy.Guarded
	case tkcoordv1.OperationKind_OPERATION_KIND_RESERVE:
		return p.Kind == policy.Federated
	}
	return false
}

// operationNames are those that the contract has in its errors.
var operationNames = map[tkcoordv1.OperationKind]string{
	tkcoordv1.OperationKind_OPERATION_KIND_CHECK:      "check",
	tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY: "checkMany",
	tkcoordv1.OperationKind_OPERATION_KIND_PEEK:       "peek",
	tkcoordv1.OperationKind_OPERATION_KIND_FORECAST:   "forecast",
	tkcoordv1.OperationKind_OPERATION_KIND_DEBIT:      "debit",
	tkcoordv1.OperationKind_OPERATION_KIND_ADMIT:      "admit",
}

// require returns the policy of an operation, or the status that the contract has
// if there is none or it lacks that operation. It returns nil for operations that
// are not of a policy.
func (p *page) require(op *tkcoordv1.Operation) (*entry, error) {
	name := op.Policy
	e := p.by[name]
	switch {
	case op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_RELEASE, op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_HEARTBEAT:
		return nil, nil
	case e != nil && supports(&e.Policy, op.Kind):
		return e, nil
	case op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_RESERVE:
		return nil, detailed(codes.NotFound, "fleet: no leasable policy "+quoted(name)+"; leasable policies: "+p.leasable(),
			&errdetails.ErrorInfo{Reason: ReasonUnknownPolicy, Domain: Domain})
	case e == nil:
		return nil, detailed(codes.NotFound, "unknown policy "+quoted(name)+"; configured policies: "+p.configured(),
			&errdetails.ErrorInfo{Reason: ReasonUnknownPolicy, Domain: Domain})
	default:
		return nil, detailed(codes.Unimplemented, "policy "+quoted(name)+" does not support "+operationNames[op.Kind],
			&errdetails.ErrorInfo{Reason: ReasonUnsupported, Domain: Domain})
	}
}

// Groups of policies, as errors list them.
func limiters(p *policy.Policy) bool {
	return p.Kind == policy.Plain || p.Kind == policy.TwoTier || p.Kind == policy.Federated
}
func meters(p *policy.Policy) bool    { return p.Kind == policy.Meter }
func admitters(p *policy.Policy) bool { return p.Kind == policy.Guarded }
func leasable(p *policy.Policy) bool  { return p.Kind == policy.Federated }

// maxListed bounds the names in an error, in bytes: clients refuse a status whose
// text is longer than a few KiB.
const maxListed = 2048

// list names the policies of some groups, group by group and sorted by name in
// each.
func (p *page) list(groups ...func(*policy.Policy) bool) string {
	var b strings.Builder
	more := 0
	for _, in := range groups {
		for _, e := range p.all {
			switch {
			case !in(&e.Policy):
			case more > 0 || b.Len()+len(e.Name) > maxListed:
				more++
			case b.Len() > 0:
				b.WriteString(", " + quoted(e.Name))
			default:
				b.WriteString(quoted(e.Name))
			}
		}
	}
	switch {
	case more > 0:
		return fmt.Sprintf("%s and %d more", b.String(), more)
	case b.Len() == 0:
		return "(none)"
	}
	return b.String()
}

// quoted writes a name as a JSON string. One that is longer than any policy's is
// cut.
func quoted(name string) string {
	if len(name) > policy.MaxNameLen {
		name = strings.ToValidUTF8(name[:policy.MaxNameLen], "") + "..."
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(name) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}
