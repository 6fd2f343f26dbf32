package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// hclogTo returns a logger for hashicorp/raft that passes everything on to log. The
// logger's own output is switched off; an intercepting sink, which hclog gives
// every message and all implied arguments, does the work.
func hclogTo(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
	l.RegisterSink(raftSink{log})
	return l
}

type raftSink struct{ log *slog.Logger }

// raftLevel maps raft's levels to ours. Raft reports as errors what it will
// try again by itself (a peer that does not answer, a vote that got lost),
// once per attempt; nobody has to act, so they are warnings here. What cannot
// be tried again is the stores failing, and failStop reports that.
var raftLevel = map[hclog.Level]slog.Level{
	hclog.Trace: slog.LevelDebug,
	hclog.Debug: slog.LevelDebug,
	hclog.Info:  slog.LevelInfo,
	hclog.Warn:  slog.LevelWarn,
	hclog.Error: slog.LevelWarn,
}

// Accept implements hclog.SinkAdapter.
func (s raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	l := raftLevel[level]
	if !s.log.Enabled(context.Background(), l) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok { // made by hclog.Fmt: a format and its operands
			args[i] = fmt.Sprintf(f[0].(string), f[1:]...)
		}
	}
	s.log.Log(context.Background(), l, msg, args...)
}
