package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// An etcdCluster is the yardstick: as many etcd processes as there are nodes,
// on the same disk, doing one durable put per grant.
type etcdCluster struct {
	nodes   []*child
	clients []string
}

func startEtcd(ctx context.Context, c *Config) (_ *etcdCluster, err error) {
	ports, err := freePorts(2 * c.Nodes)
	if err != nil {
		return nil, err
	}
	var members []string
	for i := range c.Nodes {
		members = append(members, fmt.Sprintf("e%d=http://127.0.0.1:%d", i, ports[2*i]))
	}
	e := &etcdCluster{}
	for i := range c.Nodes {
		name := fmt.Sprintf("e%d", i)
		dir := filepath.Join(c.Dir, "etcd", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			e.stop()
			return nil, err
		}
		peer, client := fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]), fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1])
		n := &child{name: "etcd " + name, log: filepath.Join(c.Dir, "etcd-"+name+".log"), args: []string{
			c.Etcd, "--name", name, "--data-dir", dir,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new",
			"--initial-cluster-token", "tkcoord-bench", "--log-level", "error",
		}}
		if _, err := n.start(ctx, 0); err != nil {
			e.stop()
			return nil, err
		}
		e.nodes = append(e.nodes, n)
		e.clients = append(e.clients, strings.TrimPrefix(client, "http://"))
	}
	if err := e.waitReady(ctx); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// rawBytes sends and receives messages that are encoded already: the benchmark
// needs one call of etcd's API and not its client library.
type rawBytes struct{}

func (rawBytes) Name() string                  { return "proto" }
func (rawBytes) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawBytes) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// put stores a value with etcdserverpb.KV/Put: key is field 1, value field 2.
func put(ctx context.Context, c *grpc.ClientConn, key, value string) error {
	req := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
	req = protowire.AppendString(protowire.AppendTag(req, 2, protowire.BytesType), value)
	var res []byte
	return c.Invoke(ctx, "/etcdserverpb.KV/Put", &req, &res, grpc.ForceCodec(rawBytes{}))
}

func dialEtcd(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (e *etcdCluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	for _, address := range e.clients {
		conn, err := dialEtcd(address)
		if err != nil {
			return err
		}
		for err = errNoSamples; err != nil; {
			try, stop := context.WithTimeout(ctx, time.Second)
			err = put(try, conn, "ready", "")
			stop()
			if ctx.Err() != nil {
				return errors.Join(fmt.Errorf("etcd at %s not ready: %w", address, err), conn.Close())
			}
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

// load puts as fast as it is answered, spread over all members, which is faster
// than asking one.
func (e *etcdCluster) load(ctx context.Context, callers int, d time.Duration) (sample, error) {
	var s sample
	var mu sync.Mutex
	var conns []*grpc.ClientConn
	for _, a := range e.clients {
		c, err := dialEtcd(a)
		if err != nil {
			return s, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	begin, cpu := time.Now(), e.cpu()
	end := begin.Add(d)
	g, ctx := errgroup.WithContext(ctx)
	for i := range callers {
		g.Go(func() error {
			var took []time.Duration
			for t, n := time.Now(), 0; t.Before(end); n++ {
				if err := put(ctx, conns[i%len(conns)], fmt.Sprintf("tenant-%05d", i*keysPerCaller+n%keysPerCaller), "1234567890123456"); err != nil {
					return err
				}
				now := time.Now()
				took = append(took, now.Sub(t))
				t = now
			}
			mu.Lock()
			defer mu.Unlock()
			s.latencies = append(s.latencies, took...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return s, err
	}
	s.ops, s.took, s.cpu = len(s.latencies), time.Since(begin), e.cpu()-cpu
	return s, nil
}

func (e *etcdCluster) cpu() (sum time.Duration) {
	for _, n := range e.nodes {
		sum += n.cpu()
	}
	return sum
}

func (e *etcdCluster) stop() {
	for _, n := range e.nodes {
		n.kill()
	}
}
