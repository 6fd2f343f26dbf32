package main

import "encoding/json"

// A call is one call of a client and what came of it, as the client's library
// hands it out.
type call struct {
	Case string `json:"case,omitempty"` // of the table, with the step and how often the case ran before
	Step int    `json:"step,omitempty"`
	Pass int    `json:"pass,omitempty"`
	Lane string `json:"lane,omitempty"` // or the name of shared traffic

	Op     string `json:"op"`
	Policy string `json:"policy,omitempty"`
	Key    string `json:"key,omitempty"` // or the slot's, of a release
	Amount int64  `json:"amount,omitempty"`

	// Readings of the machine's CLOCK_MONOTONIC in ns, and of its wall clock in Unix
	// ms, before and after.
	Begin int64    `json:"begin"`
	End   int64    `json:"end"`
	Wall  [2]int64 `json:"wall"`

	Reply *reply   `json:"reply,omitempty"`
	Error *failure `json:"error,omitempty"`

	client string
}

// A failure is an error of a client. Code is that of gRPC which the client's error
// stands for.
type failure struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// A decision has the names that the contract's files have for its fields.
type decision struct {
	Allowed bool  `json:"allowed"`
	Limit   int64 `json:"limit"`
	Left    int64 `json:"remaining"`
	Reset   int64 `json:"reset"` // Unix ms
	Retry   int64 `json:"retry"` // ms
}

// A reply is the answer to any operation; those fields are set that the operation
// has.
type reply struct {
	Decision *decision  `json:"decision,omitempty"`
	All      []decision `json:"all,omitempty"`
	Forecast *forecast  `json:"forecast,omitempty"`
	Lease    string     `json:"lease,omitempty"` // of a slot
	Expires  int64      `json:"expires,omitempty"`
	Axis     string     `json:"axis,omitempty"`
	Beat     *beat      `json:"beat,omitempty"`
	Reserved *reserved  `json:"reserved,omitempty"`
	Snapshot *snapshot  `json:"snapshot,omitempty"`
	Event    *event     `json:"event,omitempty"`
}

type forecast struct {
	Spendable int64 `json:"spendable"`
	Next      int64 `json:"next"`
	Full      int64 `json:"full"`
}

type beat struct {
	Live      []string `json:"live"`
	Reclaimed []string `json:"reclaimed"`
	Deadline  int64    `json:"deadline"`
}

type reserved struct {
	Capacity int64 `json:"capacity"`
	Safe     int64 `json:"safe"`
	Limit    int64 `json:"limit"`
	Expiry   int64 `json:"expiry"`
	Refresh  int64 `json:"refresh"`
	Retry    int64 `json:"retry"`
}

// A snapshot is the monitor's, with the summary of the policy that was asked about.
type snapshot struct {
	Generated int64           `json:"generated"`
	Window    int64           `json:"window"`
	Mode      string          `json:"mode"`
	Raw       json.RawMessage `json:"raw"`
	Policy    *summary        `json:"policy"`
}

type summary struct {
	Kind     string `json:"kind"`
	Strategy string `json:"strategy"`
	Limit    int64  `json:"limit"`
	Allowed  int64  `json:"allowed"`
	Denied   int64  `json:"denied"`
}

type event struct {
	At     int64  `json:"at"`
	Policy string `json:"policy"`
	Key    string `json:"key"`
	Axis   string `json:"axis"`
	Limit  int64  `json:"limit"`
	Left   int64  `json:"remaining"`
	Retry  int64  `json:"retry"`
}

// unavailable is the code of errors that say that nobody answered.
const unavailable = "UNAVAILABLE"

// interrupted reports whether a call got no answer from the cluster, so that it
// may or may not have taken effect: the client says so, or the node made a denial
// up, which has no instant of reset.
func (c *call) interrupted() bool {
	switch {
	case c.Error != nil:
		return c.Error.Code == unavailable
	case c.Reply == nil:
		return false
	case c.Reply.Decision != nil:
		return c.Reply.Decision.Reset == 0
	}
	for _, d := range c.Reply.All {
		if d.Reset == 0 {
			return true
		}
	}
	return false
}

// A test is something that a client's own features were checked for, by the suite
// itself.
type test struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Interrupted: the cluster was not available in the middle of it, so it says
	// nothing.
	Interrupted bool `json:"interrupted"`

	at int64 // CLOCK_MONOTONIC when it was told
}

// A line is what a suite prints, one JSON object each.
type line struct {
	Call    *call  `json:"call,omitempty"`
	Test    *test  `json:"test,omitempty"`
	Version string `json:"version,omitempty"` // of the client library
}
