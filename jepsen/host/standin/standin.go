// Package standin is a program that a harness takes for `tkcoord serve`: it
// understands the flags, says the same lines, answers the questions that the
// harness asks, and follows its fault file. Tests of the harness run their own
// binary as one, since it starts in milliseconds.
package standin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/jepsen/seam"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Env makes a test binary a stand-in, if its TestMain calls MainIfAsked.
const Env = "TKJEPSEN_STANDIN=1"

// MainIfAsked runs the stand-in and ends the process if the environment says so.
// Otherwise it returns.
func MainIfAsked() {
	if name, value, _ := strings.Cut(Env, "="); os.Getenv(name) != value {
		return
	}
	if err := serve(os.Args[2:]); err != nil { // after "serve"
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are those flags of tkcoord that mean something here.
type options struct {
	name, data, grpc, raft, gossip, http, advertise, faults string
	crash                                                   bool
}

func parse(args []string) (o options, err error) {
	f := pflag.NewFlagSet("standin", pflag.ContinueOnError)
	f.ParseErrorsWhitelist.UnknownFlags = true
	f.StringVar(&o.name, "node-id", "", "")
	f.StringVar(&o.data, "data", "", "")
	f.StringVar(&o.grpc, "grpc", "", "")
	f.StringVar(&o.raft, "raft", "", "")
	f.StringVar(&o.gossip, "gossip", "", "")
	f.StringVar(&o.http, "http", "", "")
	f.StringVar(&o.advertise, "advertise", "", "")
	f.StringVar(&o.faults, "fault-file", "", "")
	f.BoolVar(&o.crash, "crash", false, "panic once ready")
	return o, f.Parse(args)
}

func serve(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	faults, err := seam.Open(o.faults)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	where := []any{o.name}
	var doors []net.Listener
	for _, address := range []string{o.grpc, o.raft, o.gossip, o.http} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		defer l.Close()
		doors = append(doors, l)
		where = append(where, net.JoinHostPort(o.advertise, fmt.Sprint(l.Addr().(*net.TCPAddr).Port)))
	}
	s := grpc.NewServer()
	tkcoordv1.RegisterAdminServer(s, &admin{name: o.name, leader: filepath.Join(o.data, "..", "..", "leader")})
	go s.Serve(doors[0])
	go echo(doors[1])
	go echo(doors[2])
	go http.Serve(doors[3], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		off := time.Duration(int64(faults.Wall())-time.Now().UnixMilli()) * time.Millisecond
		fmt.Fprintf(w, "wall clock off by %.0f s\n", off.Round(time.Second).Seconds())
	}))
	text := fmt.Sprintf("node=%s grpc=%s raft=%s gossip=%s http=%s", where...)
	fmt.Println("listening", text)
	fmt.Println("ready", text)
	if o.crash {
		panic("asked to")
	}
	return faults.Run(ctx)
}

// echo sends back what it is sent.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// admin answers for a cluster whose leader stands in a file, n1 at first.
type admin struct {
	tkcoordv1.UnimplementedAdminServer
	name, leader string
}

func (a *admin) leads() string {
	data, err := os.ReadFile(a.leader)
	if err != nil {
		return "n1"
	}
	return string(data)
}

func (a *admin) Status(context.Context, *tkcoordv1.StatusRequest) (*tkcoordv1.StatusResponse, error) {
	r := &tkcoordv1.StatusResponse{NodeId: a.name, Term: 1, RaftState: "Follower"}
	if a.leads() == a.name {
		r.RaftState = "Leader"
	}
	return r, nil
}

func (a *admin) TransferLeadership(_ context.Context, r *tkcoordv1.TransferLeadershipRequest) (*tkcoordv1.TransferLeadershipResponse, error) {
	if a.leads() != a.name {
		return nil, status.Error(codes.Unavailable, "not the leader")
	}
	return &tkcoordv1.TransferLeadershipResponse{}, os.WriteFile(a.leader, []byte(r.NodeId), 0o644)
}
