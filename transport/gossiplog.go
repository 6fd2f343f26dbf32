package transport

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// quietFor is how long the same complaint is not repeated. Gossip meets the
// same peers several times a second.
const quietFor = time.Minute

// maxComplaints bounds the complaints that are remembered. Beyond them all are
// forgotten, and some come early.
const maxComplaints = 256

// A complainer logs each complaint at most once per quietFor.
type complainer struct {
	log *slog.Logger

	mu   sync.Mutex // guards last
	last map[string]time.Time
}

func newComplainer(log *slog.Logger) *complainer {
	return &complainer{log: log, last: map[string]time.Time{}}
}

// complain logs msg unless key was heard lately.
func (c *complainer) complain(level slog.Level, key, msg string, args ...any) {
	if c.fresh(key) {
		c.log.Log(context.Background(), level, msg, args...)
	}
}

func (c *complainer) fresh(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if t, ok := c.last[key]; ok && now.Sub(t) < quietFor {
		return false
	}
	if len(c.last) >= maxComplaints {
		clear(c.last)
	}
	c.last[key] = now
	return true
}

// gossipLevels maps the marks in memberlist's lines. Nobody has to act on what
// it calls errors: they are lost packets and peers that went away, and it tries
// again. Joins and failures of nodes are logged from its events instead.
var gossipLevels = []struct {
	mark  string
	level slog.Level
}{
	{"[DEBUG]", slog.LevelDebug},
	{"[INFO]", slog.LevelDebug},
	{"[WARN]", slog.LevelWarn},
	{"[ERR]", slog.LevelWarn},
	{"[ERROR]", slog.LevelWarn},
	{"Err:", slog.LevelWarn},
}

// gossipNoise are warnings that are normal, or that this package reports itself
// in clearer words.
var gossipNoise = []string{
	"Refuting ",              // of a message about ourselves, after each restart or pause
	"ignoring alive message", // see refuse
	"Conflicting address",    // see NotifyConflict
}

// gossipLines passes memberlist's log lines on to a slog.Logger. It is the
// output of the log.Logger that memberlist is given: one Write is one line.
type gossipLines struct{ *complainer }

func (w gossipLines) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelDebug
	for _, l := range gossipLevels {
		if rest, ok := strings.CutPrefix(text, l.mark); ok {
			text, level = strings.TrimPrefix(strings.TrimSpace(rest), "memberlist: "), l.level
			break
		}
	}
	for _, n := range gossipNoise {
		if strings.HasPrefix(text, n) {
			level = slog.LevelDebug
		}
	}
	if level == slog.LevelDebug {
		w.log.Debug("memberlist", "text", text)
		return len(line), nil
	}
	// Ports of connections would make each line new.
	key, _, _ := strings.Cut(text, " from=")
	w.complain(level, key, "memberlist", "text", text)
	return len(line), nil
}
