package api

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The public contract's names, numbers and types are those of the table in
// testdata/contract.txt, and there are no others. Clients that were made from
// another text of the same contract rely on each of them.
func TestContract(t *testing.T) {
	var got []string
	for _, file := range []protoreflect.FileDescriptor{
		throttlekitv1.File_throttlekit_v1_rate_limiter_proto, throttlekitv1.File_throttlekit_v1_fleet_proto, throttlekitv1.File_throttlekit_v1_monitor_proto,
	} {
		if p := file.Package(); p != "throttlekit.v1" {
			t.Errorf("%s is of package %s", file.Path(), p)
		}
		got = append(got, contractOf(file)...)
	}
	want := readContract(t)
	slices.Sort(got)
	slices.Sort(want)
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("the protos lack: %s", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("the protos have, and the contract has not: %s", l)
		}
	}
}

// readContract returns the lines of the table, each below the message that it is
// of with the name of that before it.
func readContract(t *testing.T) (all []string) {
	data, err := os.ReadFile("testdata/contract.txt")
	if err != nil {
		t.Fatal(err)
	}
	under := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		if rest, ok := strings.CutPrefix(line, "  "); ok {
			line = under + ": " + rest
		} else {
			under = line
		}
		all = append(all, line)
	}
	return all
}

func contractOf(file protoreflect.FileDescriptor) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			stream := ""
			if m.IsStreamingServer() {
				stream = "stream "
			}
			if m.IsStreamingClient() {
				say("rpc %s.%s takes a stream", s.Name(), m.Name())
			}
			say("rpc %s.%s(%s) %s%s", s.Name(), m.Name(), m.Input().Name(), stream, m.Output().Name())
		}
	}
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		under := "message " + string(m.Name())
		say("%s", under)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			say("%s: %d %s %s", under, f.Number(), f.Name(), typeOf(f))
		}
		for j := range m.ReservedRanges().Len() {
			r := m.ReservedRanges().Get(j) // half-open
			say("%s: reserved %d to %d", under, r[0], r[1]-1)
		}
		for j := range m.ReservedNames().Len() {
			say("%s: reserved %s", under, m.ReservedNames().Get(j))
		}
	}
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		under := "enum " + string(e.Name())
		say("%s", under)
		for j := range e.Values().Len() {
			say("%s: %d %s", under, e.Values().Get(j).Number(), e.Values().Get(j).Name())
		}
	}
	return all
}

func typeOf(f protoreflect.FieldDescriptor) string {
	text := f.Kind().String()
	switch f.Kind() {
	case protoreflect.MessageKind:
		text = string(f.Message().Name())
	case protoreflect.EnumKind:
		text = string(f.Enum().Name())
	}
	if f.IsList() {
		text = "repeated " + text
	}
	return text
}
