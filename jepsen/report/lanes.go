package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// lanes draws what was done to the cluster: a lane for the phases of the run, one
// for the terms of the log and one for each nemesis.
func (s *series) lanes(x *check.Case) template.HTML {
	names := nemeses(x)
	p := &plot{series: s, height: plotTop + (2+len(names))*laneHeight + 4}
	p.text(0, 16, "title", "What was done")
	y := float64(plotTop)
	p.seconds(y, y+float64((2+len(names))*laneHeight), false)
	p.phases(x.Phases, y)
	p.terms(y + laneHeight)
	for i, name := range names {
		p.faultLane(x, name, y+float64((2+i)*laneHeight))
	}
	return p.svg("Phases, terms and faults over time")
}

// nemeses lists those that did something or were to, in the order of the run.
func nemeses(x *check.Case) []string {
	names := slices.Clone(x.Nemeses)
	for _, f := range x.Faults {
		if !slices.Contains(names, f.Nemesis) {
			names = append(names, f.Nemesis)
		}
	}
	return names
}

func (p *plot) bar(from, to history.Time, y float64, class, label, title string) {
	left, right := p.x(from), p.x(to)
	p.addf(`<g><title>%s</title><rect x="%s" y="%s" width="%s" height="%d" rx="2" class="%s"/>`,
		template.HTMLEscapeString(title), num(left), num(y+2), num(max(2, right-left)), laneHeight-4, class)
	if room := (right - left - 8) / 6.2; label != "" && room >= 3 {
		if float64(len(label)) > room {
			label = label[:int(room)-1] + "…"
		}
		p.text(left+4, y+14, "inbar", label)
	}
	p.b.WriteString("</g>")
}

func (p *plot) phases(ph check.Phases, y float64) {
	p.text(plotLeft-8, y+14, "tick end", "phase")
	for _, k := range []struct {
		name     string
		from, to history.Time
	}{
		{"boot", ph.Boot, ph.Warm}, {"warm", ph.Warm, ph.Faults}, {"faults", ph.Faults, ph.Healed},
		{"healed", ph.Healed, ph.Quiet}, {"end", ph.Quiet, ph.End},
	} {
		if k.to > k.from {
			p.bar(k.from, k.to, y, "phase", k.name, fmt.Sprintf("%s: %v", k.name, k.to.Sub(k.from).Round(time.Millisecond)))
		}
	}
}

func (p *plot) terms(y float64) {
	p.text(plotLeft-8, y+14, "tick end", "term")
	for i, r := range p.leaders {
		class := "term"
		if i%2 == 1 {
			class = "term odd"
		}
		p.bar(r.from, r.to, y, class, fmt.Sprint(r.term), fmt.Sprintf("term %d: entries for %v", r.term, r.to.Sub(r.from).Round(time.Millisecond)))
	}
}

func (p *plot) faultLane(x *check.Case, name string, y float64) {
	p.text(plotLeft-8, y+14, "tick end", name)
	for _, f := range x.Faults {
		if f.Nemesis != name {
			continue
		}
		to := min(f.To, x.Phases.End)
		targets := strings.Join(f.Targets, " ")
		p.bar(f.From, to, y, "hit", targets, fmt.Sprintf("%s %s for %v %s", name, targets, to.Sub(f.From).Round(time.Millisecond), f.Detail))
	}
}
