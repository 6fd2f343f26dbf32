package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"sort"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

//go:embed page.html
var pageText string

// A View is porcupine's page about one cell.
type View struct {
	Title string
	Page  string // empty if there is nothing to show
}

func porcupineView(x *check.Case) (View, error) {
	var b bytes.Buffer
	id, found, err := x.Visualize(&b)
	if err != nil || !found {
		return View{}, err
	}
	return View{Title: fmt.Sprintf("%s in window %d", id.Budget, id.Start), Page: b.String()}, nil
}

// An offence is a problem with what the records say about its place.
type offence struct {
	Verdict string
	check.Problem
	When  string // from the beginning of the run
	Op    string // the operation, as it was recorded
	Entry string // the entry of the log
}

// A pageData is what the page's template shows.
type pageData struct {
	Result
	Meta     check.Meta
	Title    string
	Took     time.Duration
	Setup    []check.Stat
	Lanes    template.HTML
	Charts   []template.HTML
	Offences []offence
	More     int // offences that are not shown
	View     View
	// For the script that follows the mouse.
	PlotLeft, PlotRight int
	Seconds             float64
}

// Page returns the report as one HTML document.
func Page(x *check.Case, r Result, v View) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"date": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	s := newSeries(x)
	d := pageData{Result: r, Meta: x.Meta, Title: x.Name, Took: x.Phases.End.Sub(x.Phases.Boot).Round(10 * time.Millisecond), View: v}
	d.PlotLeft, d.PlotRight, d.Seconds = plotLeft, plotRight, s.to.Sub(s.from).Seconds()
	for k, value := range x.Setup {
		d.Setup = append(d.Setup, check.Stat{Name: k, Value: value})
	}
	sort.Slice(d.Setup, func(i, j int) bool { return d.Setup[i].Name < d.Setup[j].Name })
	var marks []history.Time
	for _, verdict := range r.Verdicts {
		d.More += verdict.Found - len(verdict.Problems)
		for _, p := range verdict.Problems {
			d.Offences = append(d.Offences, describe(x, verdict.Name, p))
			if p.At != 0 {
				marks = append(marks, p.At)
			}
		}
	}
	d.Lanes = s.lanes(x)
	d.Charts = s.charts(x, marks)
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (s *series) charts(x *check.Case, marks []history.Time) []template.HTML {
	var faults []span
	for _, f := range x.Faults {
		faults = append(faults, span{f.From, min(f.To, x.Phases.End)})
	}
	all := []chart{
		{title: "Edges", unit: "units, requests / s", curves: []curve{{name: "admitted", class: "c1", values: s.admitted}, {name: "denied", class: "c2", values: s.denied}}},
		{title: "Exchanges", unit: "per second", curves: []curve{{name: "acknowledged", class: "c1", values: s.ok}, {name: "refused", class: "c3", values: s.fail}, {name: "unknown", class: "c2", values: s.info}}},
		{title: "Latency", unit: "ms, of exchanges", log: true, curves: []curve{{name: "p99", class: "c2", values: s.p99}, {name: "median", class: "c1", values: s.p50}}},
		{title: "Outstanding", unit: "credits, by the log", step: true, axis: true, curves: []curve{{name: "granted and not returned", class: "c1", values: s.outstanding, fill: true}}},
	}
	var drawn []template.HTML
	for _, c := range all {
		c.faults, c.marks = faults, marks
		drawn = append(drawn, s.chart(c))
	}
	return drawn
}

// describe looks up what the records say about a problem's place.
func describe(x *check.Case, verdict string, p check.Problem) offence {
	o := offence{Verdict: verdict, Problem: p}
	if p.At != 0 {
		o.When = fmt.Sprintf("%.3f s", p.At.Sub(x.Phases.Boot).Seconds())
	}
	if c := x.History.Client(p.Client); c != nil && p.Op != 0 {
		if i := slices.IndexFunc(c.Ops, func(op history.Op) bool { return op.Call.Op == p.Op }); i >= 0 {
			text, err := json.MarshalIndent(c.Ops[i], "", " ")
			if err == nil { // it was read from JSON
				o.Op = string(text)
			}
		}
	}
	if p.Index != 0 {
		o.Entry = x.Story.Describe(p.Index)
	}
	return o
}
