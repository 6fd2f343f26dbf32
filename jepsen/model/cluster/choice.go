package cluster

import (
	"fmt"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// An action's argument has the process in its lowest bits, above it a place in a
// list and the message that is lost, and above these whether a copy stays under
// way.
const (
	placeShift  = 3
	victimShift = 7
	keepShift   = 11
)

// A Choice says what an action is about. Process is below 8, Place and Victim are
// below 16.
type Choice struct {
	Process, Place int
	// Victim is the place, counted from 1, of the message that is lost to make
	// room for the one that the action sends; 0 if there is room. A victim beyond
	// the others is the new message itself.
	Victim int
	Keep   bool // a copy of the delivered message stays under way
}

// Action returns the action of a kind that is about c.
func (c Choice) Action(kind uint8) model.Action {
	arg := uint32(c.Process | c.Place<<placeShift | c.Victim<<victimShift)
	if c.Keep {
		arg |= 1 << keepShift
	}
	return model.Act(kind, arg)
}

// Act returns the action of a kind that is about a process alone.
func Act(kind uint8, process int) model.Action { return Choice{Process: process}.Action(kind) }

// Append appends the action once for each way to make room for the message that
// it sends, among flying ones of which there may be room; itself says that the
// new message may be the one that is lost.
func (c Choice) Append(dst []model.Action, kind uint8, flying, room int, itself bool) []model.Action {
	if flying < room {
		return append(dst, c.Action(kind))
	}
	victims := flying
	if itself {
		victims++
	}
	for c.Victim = 1; c.Victim <= victims; c.Victim++ {
		dst = append(dst, c.Action(kind))
	}
	return dst
}

// Chosen returns what an action is about.
func Chosen(a model.Action) Choice {
	arg := int(a.Arg())
	return Choice{
		Process: arg & (1<<placeShift - 1),
		Place:   arg >> placeShift & (1<<(victimShift-placeShift) - 1),
		Victim:  arg >> victimShift & (1<<(keepShift-victimShift) - 1),
		Keep:    arg>>keepShift != 0,
	}
}

// Again and Lost say in a transcript what stays under way and what is lost.
func (c Choice) Again() string {
	if c.Keep {
		return ", and again later"
	}
	return ""
}

func (c Choice) Lost(what string) string {
	if c.Victim == 0 {
		return ""
	}
	return fmt.Sprintf(", %s %d is lost", what, c.Victim)
}
