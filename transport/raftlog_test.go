package transport

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: noTime}))
	l := hclogTo(log.With("node", "n1"))
	l.Debug("not shown", "k", 1)
	l.Info("entering follower state", "leader-id", "n2")
	l.Named("snapshot").With("id", "3-7").Warn("odd", "servers", hclog.Fmt("%+v of %d", []int{1, 2}, 3))
	l.Error("failed to heartbeat to", "peer", "n3")
	l.Info("no value", "key")
	want := `level=INFO msg="entering follower state" node=n1 leader-id=n2
level=WARN msg=odd node=n1 id=3-7 servers="[1 2] of 3"
level=WARN msg="failed to heartbeat to" node=n1 peer=n3
level=INFO msg="no value" node=n1 !BADKEY=key
`
	if out.String() != want {
		t.Errorf("logged\n%swant\n%s", out.String(), want)
	}
}
