package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A Budget names what is counted: a key under a policy.
type Budget struct{ Policy, Key string }

func (b Budget) String() string { return b.Policy + "/" + b.Key }

// A Client is one file.
type Client struct {
	Head
	Ops      []Op // by the time of their call
	Admitted []Admission
	Denied   []Denial
	Held     []Held // by the time of their end
	// Truncated: the file ends in the middle of a line, as it does when its
	// client is killed.
	Truncated bool
	// Complete: the client closed its record, so its sums lack nothing.
	Complete bool
	// Names of the keys, by the number they have in this file.
	Names map[int]Budget
}

// An Op is an operation from its call to its return.
type Op struct {
	Client string
	Call
	// Ended and Outcome are Never and Info for an operation that did not return.
	Ended   Time
	Outcome Outcome
	Error   string
	Reply   *Reply
	Version uint64
	Answer  *PublicReply // of a public call
}

// An Admission is an Admitted whose key has its name.
type Admission struct {
	Budget
	Admitted
}

// A Denial is a Denied whose key has its name.
type Denial struct {
	Budget
	Denied
}

// Budget returns what a key number of this client's file means.
func (c *Client) Budget(key int) Budget { return c.Names[key] }

// A History is all clients of a run, by name.
type History []*Client

// Glob matches the files of a directory that are histories.
const Glob = "*.history.jsonl"

// FileName is that of a client's file.
func FileName(client string) string { return client + Glob[1:] }

// ReadDir reads the histories of a run. It fails if there are none.
func ReadDir(dir string) (History, error) {
	files, err := filepath.Glob(filepath.Join(dir, Glob))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no histories in %s", dir)
	}
	slices.Sort(files)
	var all History
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		c, err := Read(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// Read reads one file. Only its last line may be damaged.
func Read(r io.Reader) (*Client, error) {
	c := &Client{Names: make(map[int]Budget)}
	open := make(map[int64]int) // index of an operation in c.Ops
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			c.Truncated = len(text) > 0
			break
		}
		if err != nil {
			return nil, err
		}
		var l line
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := c.take(&l, n, open); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if c.Client == "" {
		return nil, errors.New("the file has no head")
	}
	slices.SortStableFunc(c.Ops, func(a, b Op) int { return int(max(-1, min(1, a.At-b.At))) })
	return c, nil
}

func (c *Client) take(l *line, n int, open map[int64]int) error {
	switch {
	case (l.Head != nil) != (n == 1):
		return errors.New("want the head in the first line and nowhere else")
	case l.Head != nil:
		if l.Head.Version != Version {
			return fmt.Errorf("format %d, this program reads %d", l.Head.Version, Version)
		}
		if l.Head.Client == "" {
			return errors.New("the client has no name")
		}
		c.Head = *l.Head
	case l.Name != nil:
		c.Names[l.Name.Key] = Budget{l.Name.Policy, l.Name.Name}
	case l.Call != nil:
		if _, twice := open[l.Call.Op]; twice {
			return fmt.Errorf("operation %d is called twice", l.Call.Op)
		}
		open[l.Call.Op] = len(c.Ops)
		c.Ops = append(c.Ops, Op{Client: c.Client, Call: *l.Call, Ended: Never, Outcome: Info})
	case l.Return != nil:
		return c.end(l.Return, open)
	case l.Admitted != nil:
		b, ok := c.Names[l.Admitted.Key]
		if !ok {
			return fmt.Errorf("key %d has no name", l.Admitted.Key)
		}
		c.Admitted = append(c.Admitted, Admission{b, *l.Admitted})
	case l.Denied != nil:
		b, ok := c.Names[l.Denied.Key]
		if !ok {
			return fmt.Errorf("key %d has no name", l.Denied.Key)
		}
		c.Denied = append(c.Denied, Denial{b, *l.Denied})
	case l.Held != nil:
		c.Held = append(c.Held, *l.Held)
	case l.End != nil:
		c.Complete = true
	default:
		return errors.New("the line holds nothing that is known")
	}
	return nil
}

func (c *Client) end(r *Return, open map[int64]int) error {
	i, ok := open[r.Op]
	if !ok {
		return fmt.Errorf("operation %d returns and was not called", r.Op)
	}
	o := &c.Ops[i]
	if o.Ended != Never {
		return fmt.Errorf("operation %d returns twice", r.Op)
	}
	o.Ended, o.Outcome, o.Error, o.Reply, o.Version, o.Answer = r.At, r.Outcome, r.Error, r.Reply, r.Version, r.Public
	return nil
}

// Ops returns the operations of all clients, by the time of their call.
func (h History) Ops() []*Op {
	var all []*Op
	for _, c := range h {
		for i := range c.Ops {
			all = append(all, &c.Ops[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *Op) int { return int(max(-1, min(1, a.At-b.At))) })
	return all
}

// Client returns the client of that name, or nil.
func (h History) Client(name string) *Client {
	for _, c := range h {
		if c.Client == name {
			return c
		}
	}
	return nil
}
