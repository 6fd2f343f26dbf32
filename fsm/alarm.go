package fsm

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A RaisedAlarm is an alarm in force.
type RaisedAlarm struct {
	Kind, Node, Detail string
	At                 clock.Millis
}

// alarm raises or clears an alarm and reports whether that changed anything. An
// alarm that is raised again keeps its age.
func (m *Machine) alarm(c Alarm) (Result, bool) {
	i := slices.IndexFunc(m.alarms, func(a RaisedAlarm) bool { return a.Kind == c.Kind && a.Node == c.Node })
	switch {
	case c.Clear && i < 0:
		return Result{}, false
	case c.Clear:
		m.alarms = slices.Delete(m.alarms, i, i+1)
	case i >= 0:
		m.alarms[i].Detail = c.Detail
	case len(m.alarms) >= maxAlarms:
		return Result{Err: fmt.Errorf("alarm: %d are in force, the most that may be: %w", len(m.alarms), ErrExhausted)}, false
	default:
		m.alarms = append(m.alarms, RaisedAlarm{Kind: c.Kind, Node: c.Node, Detail: c.Detail, At: m.now})
	}
	return Result{}, true
}

// Alarms returns the alarms in force, oldest first.
func (m *Machine) Alarms() []RaisedAlarm { return slices.Clone(m.alarms) }
