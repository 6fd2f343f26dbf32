package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errUnknownOutcome: a change was sent and its answer was not learnt. It may
// have been made, may be made later, or never.
var errUnknownOutcome = errors.New("the outcome is not known: the change may have been made")

// errInterrupted: the person at the terminal had enough. Nothing was sent, or it
// changes nothing.
var errInterrupted = errors.New("interrupted")

// errChanged: somebody else changed the policies since they were read.
var errChanged = errors.New("the policies changed meanwhile")

// hints says what may help, by the reason that a node gives for a refusal.
var hints = map[string]string{
	api.ReasonUnknownPolicy: "tkcoord policy get --counters lists the policies",
	api.ReasonOverloaded:    "try again later",
	api.ReasonTooLarge:      "split the change into smaller ones",
}

// explain turns the error of a call that an address took, or did not answer in
// time, into one for people.
func explain(ctx context.Context, addr string, timeout time.Duration, e effect, err error) error {
	reason, _ := api.Reason(err)
	code := status.Code(err)
	late := code == codes.DeadlineExceeded || errors.Is(ctx.Err(), context.DeadlineExceeded)
	stopped := code == codes.Canceled && ctx.Err() != nil
	switch {
	case reason == api.ReasonVersion:
		return errChanged
	case e == changes && (late || stopped || code == codes.Unavailable || code == codes.Unknown):
		return fmt.Errorf("%s: %w: %w", addr, errUnknownOutcome, describe(err))
	case late:
		return hint(fmt.Errorf("%s: no answer in %v", addr, timeout), "--timeout allows more")
	case stopped:
		return errInterrupted
	case code == codes.Unimplemented && reason == "":
		return hint(fmt.Errorf("%s: the node does not know this call", addr), "is its version older than %s?", buildVersion())
	}
	if h := hints[reason]; h != "" {
		return hint(describe(err), "%s", h)
	}
	return describe(err)
}

// describe drops gRPC's wrapping. Codes stay in words where the text that comes
// with them, often empty or from a proxy, would not say enough.
func describe(err error) error {
	s := status.Convert(err)
	text := s.Message()
	switch {
	case text == "":
		text = s.Code().String()
	case s.Code() == codes.DeadlineExceeded:
		text = "no answer in time"
	case s.Code() == codes.Canceled:
		return errInterrupted
	case s.Code() == codes.PermissionDenied, s.Code() == codes.Unauthenticated:
		text = "not allowed: " + text
	}
	return errors.New(text)
}
