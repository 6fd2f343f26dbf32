package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
	"google.golang.org/grpc/codes"
)

// A curl runs grpcurl, which knows of the contract only what the server's
// reflection tells it.
type curl struct {
	binary string
	s      *suite
	at     int // of the suite's targets, the one to ask
}

// most is how long one call of grpcurl may take.
const most = 8 * time.Second

func runGrpcurl(ctx context.Context, s *suite) error {
	g := &curl{binary: s.tools.grpcurl, s: s}
	version, err := g.version()
	if err != nil {
		return err
	}
	s.tell(line{Version: version})
	for pass := 0; ; pass++ {
		for i := range s.job.Cases {
			if s.job.Mode == failover && g.stopped() {
				return nil
			}
			g.pass(ctx, &s.job.Cases[i], pass)
			if n := len(s.job.Lanes); n > 0 {
				g.shared(ctx, &s.job.Lanes[i%n])
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		for _, f := range g.features() {
			g.feature(ctx, f)
		}
		if s.job.Mode == contract {
			return nil
		}
	}
}

// version returns that of the module that grpcurl was built from. It does not know
// itself.
func (g *curl) version() (string, error) {
	info, err := buildinfo.ReadFile(g.binary)
	if err != nil {
		return "", err
	}
	for _, m := range info.Deps {
		if strings.HasSuffix(m.Path, "/grpcurl") {
			return m.Version, nil
		}
	}
	return info.Main.Version, nil
}

func (g *curl) stopped() bool {
	select {
	case <-g.s.stop:
		return true
	default:
		return false
	}
}

// A message is a reply as grpcurl prints it: names in camel case, 64-bit integers as
// strings.
type message map[string]any

func (m message) message(name string) message {
	v, _ := m[name].(map[string]any)
	return v
}

func (m message) text(name string) string {
	v, _ := m[name].(string)
	return v
}

func (m message) integer(name string) int64 {
	n, _ := strconv.ParseInt(m.text(name), 10, 64)
	return n
}

func (m message) texts(name string) (all []string) {
	list, _ := m[name].([]any)
	for _, v := range list {
		s, _ := v.(string)
		all = append(all, s)
	}
	return all
}

func (m message) messages(name string) (all []message) {
	list, _ := m[name].([]any)
	for _, v := range list {
		x, _ := v.(map[string]any)
		all = append(all, x)
	}
	return all
}

func (m message) decision() *decision {
	allowed, _ := m["allowed"].(bool)
	return &decision{Allowed: allowed, Limit: m.integer("limit"), Left: m.integer("remaining"), Reset: m.integer("resetAt"), Retry: m.integer("retryAfterMs")}
}

// ask calls a method and returns its reply or its error.
func (g *curl) ask(ctx context.Context, address, method string, request any, headers ...string) (message, *failure) {
	data, err := json.Marshal(request)
	if err != nil {
		return nil, &failure{Code: "request", Text: err.Error()}
	}
	args := []string{"-plaintext", "-emit-defaults", "-max-time", fmt.Sprint(most.Seconds()), "-d", string(data)}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	cmd := command(ctx, "", g.binary, append(args, address, method)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, g.failure(err, stderr.String())
	}
	var m message
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, &failure{Code: "reply", Text: err.Error()}
	}
	return m, nil
}

// failure reads grpcurl's account of an error. Its exit code is 64 more than the
// status; without a connection there is none.
func (g *curl) failure(err error, stderr string) *failure {
	exit := &exec.ExitError{}
	if !errors.As(err, &exit) {
		return &failure{Code: "start", Text: err.Error()}
	}
	_, text, found := strings.Cut(stderr, "Message: ")
	text, _, _ = strings.Cut(text, "\n")
	if code := exit.ExitCode() - 64; found && code > 0 {
		return &failure{Code: upper(codes.Code(code)), Text: text}
	}
	return &failure{Code: unavailable, Text: strings.TrimSpace(stderr)} // it could not connect, or not read the reflection
}

// upper returns the name of a code as the protocol spells it.
func upper(c codes.Code) string {
	names := map[codes.Code]string{
		codes.NotFound: "NOT_FOUND", codes.Unimplemented: "UNIMPLEMENTED", codes.Unauthenticated: "UNAUTHENTICATED",
		codes.Unavailable: unavailable, codes.InvalidArgument: "INVALID_ARGUMENT", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	}
	if n, ok := names[c]; ok {
		return n
	}
	return c.String()
}

// measured makes a call and tells of it.
func (g *curl) measured(c *call, ask func() (*reply, *failure)) *reply {
	c.Wall[0], c.Begin = time.Now().UnixMilli(), int64(history.Now())
	c.Reply, c.Error = ask()
	c.End, c.Wall[1] = int64(history.Now()), time.Now().UnixMilli()
	if c.interrupted() {
		g.at = (g.at + 1) % len(g.s.job.Targets) // as a person would try the next one
	}
	g.s.tell(line{Call: c})
	return c.Reply
}

// do carries out a step. keys and ids are what its own stand for.
func (g *curl) do(ctx context.Context, s *step, keys, ids []string) (*reply, *failure) {
	key := ""
	if len(keys) > 0 {
		key = keys[0]
	}
	service, method, request := "RateLimiter", "", map[string]any{"policy": s.Policy}
	switch s.Op {
	case "check", "peek", "forecast", "admit", "debit":
		method = strings.ToUpper(s.Op[:1]) + s.Op[1:]
		request["key"] = key
		switch s.Op {
		case "check", "forecast":
			request["cost"] = s.Cost
		case "debit":
			request["tokens"] = s.Cost
		}
	case "checkMany":
		method, request["keys"], request["cost"] = "CheckMany", keys, s.Cost
	case "release":
		method, request = "Release", map[string]any{"lease_id": ids[0], "dropped": s.Dropped}
	case "heartbeat":
		method, request = "Heartbeat", map[string]any{"lease_ids": ids}
	case "reserve":
		axis := map[string]string{"": "AXIS_RATE", "token_budget": "AXIS_TOKEN_BUDGET", "concurrency": "AXIS_CONCURRENCY"}[s.Axis]
		service, method = "Fleet", "Reserve"
		request["caller"], request["wants"], request["axis"] = map[string]any{"domain": key}, s.Wants, axis
	case "snapshot":
		service, method, request = "Monitor", "GetSnapshot", map[string]any{}
	}
	address, shown := g.s.job.Targets[g.at], g.s.job.Secret
	if s.At != "" {
		address = g.s.job.Guarded
		shown = map[string]string{"": "", "wrong": "wrong", "right": g.s.job.Secret}[s.Secret]
	}
	var headers []string
	if shown != "" {
		headers = []string{"x-fleet-secret: " + shown, "x-monitor-secret: " + shown}
	}
	m, f := g.ask(ctx, address, "throttlekit.v1."+service+"/"+method, request, headers...)
	if f != nil {
		return nil, f
	}
	return g.reply(s, m), nil
}

func (g *curl) reply(s *step, m message) *reply {
	switch s.Op {
	case "checkMany":
		r := &reply{}
		for _, d := range m.messages("decisions") {
			r.All = append(r.All, *d.decision())
		}
		return r
	case "forecast":
		f := m.message("forecast")
		return &reply{Forecast: &forecast{f.integer("spendableNow"), f.integer("nextReplenishAt"), f.integer("fullAt")}}
	case "admit":
		return &reply{Decision: m.message("decision").decision(), Lease: m.text("leaseId"), Expires: m.integer("leaseExpiresAt"), Axis: m.text("bindingAxis")}
	case "release":
		return &reply{}
	case "heartbeat":
		return &reply{Beat: &beat{m.texts("liveIds"), m.texts("reclaimedIds"), m.integer("nextDeadline")}}
	case "reserve":
		l := m.message("lease")
		return &reply{Reserved: &reserved{
			Capacity: l.integer("capacity"), Safe: l.integer("safeCapacity"), Limit: l.integer("limit"),
			Expiry: l.integer("expiryMs"), Refresh: l.integer("refreshIntervalMs"), Retry: l.integer("retryAfterMs"),
		}}
	case "snapshot":
		return &reply{Snapshot: g.snapshot(s, m.message("snapshot"))}
	}
	return &reply{Decision: m.message("decision").decision()}
}

func (g *curl) snapshot(s *step, m message) *snapshot {
	meta := m.message("meta")
	out := &snapshot{Generated: meta.integer("generatedAt"), Window: meta.integer("windowMs"), Mode: meta.text("mode"), Raw: json.RawMessage(m.text("rawJson"))}
	for _, p := range m.messages("policies") {
		if p.text("name") == s.Policy {
			out.Policy = &summary{p.text("kind"), p.text("strategy"), p.integer("limit"), p.integer("allowed"), p.integer("denied")}
		}
	}
	return out
}

// pass runs one pass of a case.
func (g *curl) pass(ctx context.Context, tc *testCase, number int) {
	replies := make(map[int]*reply)
	for i := range tc.Steps {
		s := &tc.Steps[i]
		if s.Op == "await" {
			g.wait(ctx, s, replies)
			continue
		}
		keys := slices.Clone(s.Keys)
		if s.Op != "checkMany" {
			keys = []string{s.Key}
		}
		for k := range keys {
			if !s.Bare {
				keys[k] = fmt.Sprintf("%s %s %s %d %s", g.s.job.Client, g.s.job.Mode, tc.Name, number, keys[k])
			}
		}
		var ids []string
		for _, of := range s.Of {
			if r := replies[of]; r != nil && r.Lease != "" {
				ids = append(ids, r.Lease)
			}
		}
		if ids = append(ids, s.IDs...); s.Op == "release" && len(ids) == 0 {
			continue // there was no slot to be had
		}
		c := &call{Case: tc.Name, Step: s.Index, Pass: number, Op: s.Op, Policy: s.Policy, Amount: max(s.Cost, s.Wants)}
		replies[s.Index] = g.measured(c, func() (*reply, *failure) { return g.do(ctx, s, keys, ids) })
	}
}

// wait waits until a window begins or slots have ended, also by a
// clock that lags.
func (g *curl) wait(ctx context.Context, s *step, replies map[int]*reply) {
	var end int64
	if s.Window > 0 {
		end = (time.Now().UnixMilli()/s.Window + 1) * s.Window
	}
	for _, of := range s.Of {
		if r := replies[of]; r != nil {
			end = max(end, r.Expires)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(time.UnixMilli(end + maxLag + 100))):
	}
}

// shared makes one call of a lane.
func (g *curl) shared(ctx context.Context, l *lane) {
	c := &call{Lane: l.Name, Op: l.Op, Policy: l.Policy, Key: l.Key, Amount: l.Amount}
	s := &step{Op: l.Op, Policy: l.Policy, Cost: l.Amount, Wants: l.Amount}
	g.measured(c, func() (*reply, *failure) { return g.do(ctx, s, []string{l.Key}, nil) })
}

// A feature is something that only grpcurl is used for.
type feature struct {
	name string
	args []string // after the flags and the address
	data string
	want []string // what it prints, each somewhere
	exit codes.Code
}

func (g *curl) features() []feature {
	return []feature{
		{name: "reflection lists the services", args: []string{"list"}, want: []string{
			"grpc.health.v1.Health", "throttlekit.v1.RateLimiter", "throttlekit.v1.Fleet", "throttlekit.v1.Monitor",
		}},
		{name: "reflection lists the methods", args: []string{"list", "throttlekit.v1.RateLimiter"}, want: []string{
			"Check", "CheckMany", "Peek", "Forecast", "Debit", "Admit", "Release", "Heartbeat",
		}},
		{name: "reflection describes messages", args: []string{"describe", "throttlekit.v1.Decision"}, want: []string{
			"bool allowed = 1;", "int64 limit = 2;", "int64 remaining = 3;", "int64 reset_at = 4;", "int64 retry_after_ms = 5;", "reserved 6 to 15;",
		}},
		{name: "reflection describes streams", args: []string{"describe", "throttlekit.v1.Monitor.Watch"}, want: []string{
			"( .throttlekit.v1.WatchRequest ) returns ( stream .throttlekit.v1.WatchResponse )",
		}},
		{name: "health of the server", args: []string{"grpc.health.v1.Health/Check"}, want: []string{`"SERVING"`}},
		{name: "health of a service", args: []string{"grpc.health.v1.Health/Check"}, data: `{"service": "throttlekit.v1.Fleet"}`, want: []string{`"SERVING"`}},
		{name: "health of nothing", args: []string{"grpc.health.v1.Health/Check"}, data: `{"service": "nothing"}`, want: []string{`unknown service "nothing"`}, exit: codes.NotFound},
	}
}

func (g *curl) feature(ctx context.Context, f feature) {
	args := []string{"-plaintext", "-max-time", fmt.Sprint(most.Seconds())}
	if f.data != "" {
		args = append(args, "-d", f.data)
	}
	args = append(args, g.s.job.Targets[g.at])
	cmd := command(ctx, "", g.binary, append(args, f.args...)...)
	out, err := cmd.CombinedOutput()
	t := &test{Name: f.name, Detail: f.problem(string(out), cmd.ProcessState.ExitCode(), err)}
	t.OK = t.Detail == ""
	// A node that was killed says nothing, and one without a leader that it does not
	// serve.
	t.Interrupted = !t.OK && g.s.job.Mode == failover
	if t.Interrupted {
		g.at = (g.at + 1) % len(g.s.job.Targets)
	}
	g.s.tell(line{Test: t})
}

// problem returns what is wrong with what grpcurl printed, "" if nothing is.
func (f *feature) problem(out string, exit int, err error) string {
	want := 0
	if f.exit != codes.OK {
		want = int(f.exit) + 64
	}
	if exit != want {
		return fmt.Sprintf("exit code %d, want %d (%v): %s", exit, want, err, tail([]byte(out)))
	}
	for _, w := range f.want {
		if !strings.Contains(out, w) {
			return fmt.Sprintf("%s, want %q in it", tail([]byte(out)), w)
		}
	}
	return ""
}
