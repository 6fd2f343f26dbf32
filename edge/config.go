package edge

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
)

// Fail says what becomes of a request for which there are neither credits nor a
// coordinator.
type Fail uint8

const (
	FailClosed Fail = iota // deny: the limit holds whatever happens
	FailOpen               // admit: nothing bounds what is admitted meanwhile
)

func (f Fail) String() string {
	if f == FailOpen {
		return "open"
	}
	return "closed"
}

// Config is what an edge needs. Start from DefaultConfig.
type Config struct {
	// Addresses of nodes, host:port. Any node answers; the leader saves a hop and
	// is found through the others. One address is enough until that node is down.
	Addresses []string
	// EdgeID names this process, 1 to 128 bytes, unique among running edges. Two
	// processes with one name take it from each other about once per minute; the
	// one that has lost it denies with ErrReplaced.
	EdgeID string
	// TLS for the connections; nil sends in plaintext.
	TLS *tls.Config
	// DialOptions come after the edge's own, so they win.
	DialOptions []grpc.DialOption
	// Exchange asks the coordinator once, as the call Edge/Exchange does, with its
	// errors. It takes the place of Addresses, TLS and DialOptions in a process that
	// has a way to the cluster of its own, as a node has. Such an edge learns of
	// changed policies with its answers only. nil connects to Addresses.
	Exchange func(context.Context, *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error)

	// Fail decides when there are neither credits nor a coordinator, and never
	// else. FailOpen gives up the limit for as long as the coordinator is away.
	Fail Fail
	// Shadow decides and counts as usual but lets every request pass. What it
	// would have denied is marked in the Decision and counted in Stats.
	Shadow bool
	// MaxKeys bounds the keys of all limiters together, in [1, 1<<24]. Each takes
	// about 500 bytes. Keys that hold and spent nothing make room for new ones;
	// when there are none, a new key is refused with ErrTooManyKeys. A key that
	// spent something cannot be forgotten before its window is over, so with
	// daily windows this must exceed the keys of a day.
	MaxKeys int

	// IdleAfter is how long a key must be unused before its credits go back: at
	// least this and at most twice this after its last use. Longer strands
	// credits that other edges could spend; shorter sends more exchanges for
	// keys that come and go.
	IdleAfter time.Duration
	// Horizon is how long a grant should last a key in steady use. A key in use
	// is asked about roughly once per Horizon. Longer holds more credits back
	// from other edges; shorter costs more exchanges.
	Horizon time.Duration
	// AttemptTimeout bounds one exchange with one node. Above a round trip with
	// a commit; a node that is silent costs this much before the next is tried.
	AttemptTimeout time.Duration
	// Patience is for how long exchanges may fail before the coordinator counts
	// as away. Until then Check waits for it; from then on the fail policy
	// decides at once. Longer than an election, a second or so.
	Patience time.Duration
	// CloseTimeout bounds the exchanges with which Close returns what is left.
	CloseTimeout time.Duration

	// Rates are the assumptions about clocks that this edge starts from. The
	// cluster tells its own with each answer, and the wider ones count, so a value
	// matters only for a machine whose clock is worse than the cluster assumes.
	Rates clock.Rates
	// Monotonic reads this process's monotonic clock. Its origin does not matter.
	// On machines that are suspended or migrated live, give it a clock that goes
	// on meanwhile, such as CLOCK_BOOTTIME.
	Monotonic func() clock.Nanos
	// OnAdmit is told about every admission from credits: how much, in which
	// window, and at which reading of Monotonic. It runs inside Allow. May be nil.
	OnAdmit func(policy, key string, n int64, window escrow.Window, at clock.Nanos)
	// Logger hears about the coordinator's absence, ended sessions and mistakes.
	Logger *slog.Logger
	// Meter makes the instruments of Stats. May be nil.
	Meter metric.Meter
}

// DefaultConfig returns a configuration that lacks only Addresses.
func DefaultConfig() Config {
	base := time.Now()
	return Config{
		EdgeID:         defaultID(),
		Fail:           FailClosed,
		MaxKeys:        65_536,
		IdleAfter:      5 * time.Second,
		Horizon:        3 * time.Second,
		AttemptTimeout: 500 * time.Millisecond,
		Patience:       time.Second,
		CloseTimeout:   2 * time.Second,
		Rates:          clock.DefaultRates(),
		Monotonic:      func() clock.Nanos { return clock.Nanos(time.Since(base)) },
		Logger:         slog.Default(),
	}
}

// defaultID is readable in logs and unique by its random end.
func defaultID() string {
	host, err := os.Hostname()
	if err != nil || !printable(host) || len(host) > 80 {
		host = "edge"
	}
	var b [6]byte
	_, _ = crand.Read(b[:]) // never fails
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b[:]))
}

const maxEdgeID = 128 // bytes

// Validate reports everything that is out of range.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Addresses) > 0 || c.Exchange != nil, "Addresses: none given")
	check(len(c.Addresses) == 0 || c.Exchange == nil, "Exchange: given beside Addresses, want one of the two")
	for i, a := range c.Addresses {
		check(a != "" && strings.TrimSpace(a) == a, "Addresses[%d]: %q is not an address", i, a)
	}
	check(c.EdgeID != "" && len(c.EdgeID) <= maxEdgeID && printable(c.EdgeID), "EdgeID: %q is not 1 to %d bytes of UTF-8 without control characters", c.EdgeID, maxEdgeID)
	check(c.Fail <= FailOpen, "Fail: %d is neither FailClosed nor FailOpen", c.Fail)
	check(c.MaxKeys >= 1 && c.MaxKeys <= 1<<24, "MaxKeys: %d is outside [1, %d]", c.MaxKeys, 1<<24)
	for _, d := range []struct {
		name     string
		d        time.Duration
		min, max time.Duration
	}{
		{"IdleAfter", c.IdleAfter, 10 * time.Millisecond, time.Hour},
		{"Horizon", c.Horizon, 10 * time.Millisecond, time.Hour},
		{"AttemptTimeout", c.AttemptTimeout, time.Millisecond, time.Minute},
		{"Patience", c.Patience, 0, time.Hour},
		{"CloseTimeout", c.CloseTimeout, 0, time.Hour},
	} {
		check(d.d >= d.min && d.d <= d.max, "%s: %v is outside [%v, %v]", d.name, d.d, d.min, d.max)
	}
	if err := c.Rates.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Rates: %w", err))
	}
	check(c.Monotonic != nil, "Monotonic: missing")
	check(c.Logger != nil, "Logger: missing")
	return errors.Join(errs...)
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}
