package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

var aHello = hello{cluster: "test", clusterID: "7f", from: "n1/2", to: "n2"}

func TestHelloReadsNoMore(t *testing.T) {
	in := bytes.NewReader(append(aHello.appendTo(nil), "raft"...))
	got, err := readHello(in)
	rest, _ := io.ReadAll(in)
	if err != nil || got != aHello || string(rest) != "raft" {
		t.Errorf("readHello = %+v, %v, then %q; want %+v, then raft", got, err, rest, aHello)
	}
}

func TestHelloOfStrangers(t *testing.T) {
	for name, text := range map[string]string{
		"http":          "GET / HTTP/1.1\r\n\r\n",
		"raft's own":    "\x00\x87\xa4Addr",
		"other version": prefaceMagic + "\x02\x00\x00\x00\x00",
	} {
		if _, err := readHello(strings.NewReader(text)); !errors.Is(err, errNotPeer) {
			t.Errorf("%s: readHello = %v, want errNotPeer", name, err)
		}
	}
	whole := aHello.appendTo(nil)
	for n := range whole {
		if _, err := readHello(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("readHello of the first %d bytes = nil", n)
		}
	}
}

func TestVerdictIsCut(t *testing.T) {
	long := strings.Repeat("x", 300)
	got, err := readText(bytes.NewReader(appendText(nil, long)))
	if err != nil || got != long[:255] {
		t.Errorf("readText = %d bytes, %v, want 255", len(got), err)
	}
}

func FuzzReadHello(f *testing.F) {
	f.Add(aHello.appendTo(nil))
	f.Add(hello{}.appendTo(nil))
	f.Add([]byte(prefaceMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		h, err := readHello(in)
		if err != nil {
			return
		}
		read := data[:len(data)-in.Len()]
		if again := h.appendTo(nil); !bytes.Equal(again, read) {
			t.Errorf("%q was read as %+v, which is written as %q", read, h, again)
		}
	})
}
