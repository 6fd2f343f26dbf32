package transport

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// A hello is what each end of a new raft stream says first, at the same time:
//
//	magic  version  cluster  cluster id  from  to
//
// Then each end says what it thinks of the other's: a verdict, empty if it will
// talk. Strings have a length byte before them.
type hello struct {
	cluster   string        // the name that people gave
	clusterID string        // the one in the first entry of the log; empty while not known
	from      raft.ServerID // who speaks
	to        raft.ServerID // whom the dialler wants; empty from the other end
}

const (
	prefaceMagic   = "tkraft"
	prefaceVersion = 1
	maxPrefaceText = 255
)

// errNotPeer says that the other end does not speak this protocol.
var errNotPeer = errors.New("not a tkcoord node, or one of another protocol version")

func (h hello) appendTo(b []byte) []byte {
	b = append(b, prefaceMagic...)
	b = append(b, prefaceVersion)
	for _, s := range []string{h.cluster, h.clusterID, string(h.from), string(h.to)} {
		b = appendText(b, s)
	}
	return b
}

// appendText cuts what does not fit: a verdict that quotes long names. Names are
// checked before.
func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), maxPrefaceText)]
	return append(append(b, byte(len(s))), s...)
}

// readHello reads no byte too many: what follows belongs to raft.
func readHello(r io.Reader) (hello, error) {
	var start [len(prefaceMagic) + 1]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return hello{}, err
	}
	if string(start[:]) != prefaceMagic+string(rune(prefaceVersion)) {
		return hello{}, errNotPeer
	}
	var text [4]string
	for i := range text {
		var err error
		if text[i], err = readText(r); err != nil {
			return hello{}, err
		}
	}
	return hello{text[0], text[1], raft.ServerID(text[2]), raft.ServerID(text[3])}, nil
}

func readText(r io.Reader) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return "", err
	}
	text := make([]byte, n[0])
	if _, err := io.ReadFull(r, text); err != nil {
		return "", err
	}
	return string(text), nil
}

// introduce does one end's part of the preface and returns the other's hello,
// also along with a refusal. judge returns why not to talk to the other, or "".
//
// NB: both ends write their hello, then their verdict, before they read each;
// the connection must buffer as much. Each reads the other's verdict even when
// its own is no, so that closing does not destroy a verdict on its way.
func introduce(conn io.ReadWriter, mine hello, judge func(hello) string) (hello, error) {
	if _, err := conn.Write(mine.appendTo(nil)); err != nil {
		return hello{}, err
	}
	theirs, err := readHello(conn)
	if err != nil {
		return hello{}, err
	}
	reason := judge(theirs)
	if _, err := conn.Write(appendText(nil, reason)); err != nil {
		return theirs, err
	}
	verdict, err := readText(conn)
	switch {
	case reason != "":
		return theirs, fmt.Errorf("%w: %s", ErrRefused, reason)
	case err != nil:
		return theirs, err
	case verdict != "":
		return theirs, fmt.Errorf("%w by the other end: %s", ErrRefused, verdict)
	}
	return theirs, nil
}
