package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// Measures of every plot, in the units of its view box. All share the place and
// scale of time, so that what happened together stands one below the other.
const (
	plotWidth  = 1120
	plotLeft   = 132
	plotRight  = 1104
	plotTop    = 26
	plotHeight = 120 // of the area with the lines
	laneHeight = 20
)

// A plot is an SVG drawing over the time of the run.
type plot struct {
	*series
	b      strings.Builder
	height int
}

// x places an instant.
func (p *plot) x(t history.Time) float64 {
	share := float64(t-p.from) / float64(p.to-p.from)
	return plotLeft + max(0, min(1, share))*(plotRight-plotLeft)
}

func (p *plot) addf(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

func (p *plot) text(x, y float64, class, text string) {
	p.addf(`<text x="%s" y="%s" class="%s">%s</text>`, num(x), num(y), class, html.EscapeString(text))
}

// svg returns the drawing.
func (p *plot) svg(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s" data-plot>%s</svg>`,
		plotWidth, p.height, html.EscapeString(label), p.b.String()))
}

// num writes a number with as few digits as a drawing needs.
func num(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 1, 64), "0"), ".")
}

// seconds draws the time axis at y.
func (p *plot) seconds(top, y float64, labels bool) {
	span := p.to.Sub(p.from).Seconds()
	every := niceStep(span / 8)
	for s := 0.0; s <= span; s += every {
		x := p.x(p.from + history.Time(s*1e9))
		p.addf(`<line x1="%s" x2="%s" y1="%s" y2="%s" class="grid"/>`, num(x), num(x), num(top), num(y))
		if labels {
			p.text(x, y+15, "tick mid", num(s)+" s")
		}
	}
}

// shade lays the faults behind the lines.
func (p *plot) shade(faults []span, top, bottom float64) {
	for _, f := range faults {
		x := p.x(f.from)
		p.addf(`<rect x="%s" y="%s" width="%s" height="%s" class="fault"/>`, num(x), num(top), num(max(1, p.x(f.to)-x)), num(bottom-top))
	}
}

// A span is a part of the time axis.
type span struct{ from, to history.Time }

// A curve is one line of a chart.
type curve struct {
	name   string
	class  string // colour, by the style sheet
	values []float64
	fill   bool
}

// A chart describes a plot of curves over one value axis.
type chart struct {
	title  string
	unit   string
	log    bool // logarithmic, from 0.1
	step   bool // values hold until the next one
	curves []curve
	faults []span
	marks  []history.Time // of problems
	axis   bool           // label the time axis
}

// chart draws curves under a title with their legend.
func (s *series) chart(c chart) template.HTML {
	p := &plot{series: s, height: plotTop + plotHeight + 8}
	if c.axis {
		p.height += 16
	}
	top, bottom := float64(plotTop), float64(plotTop+plotHeight)
	scale := newScale(c, top, bottom)
	p.shade(c.faults, top, bottom)
	p.seconds(top, bottom, c.axis)
	p.text(0, top+4, "title", c.title)
	p.text(0, top+21, "unit", c.unit)
	for _, v := range scale.ticks {
		y := scale.y(v)
		p.addf(`<line x1="%d" x2="%d" y1="%s" y2="%s" class="grid"/>`, plotLeft, plotRight, num(y), num(y))
		p.text(plotLeft-8, y+4, "tick end", short(v))
	}
	x := float64(plotLeft)
	for _, k := range c.curves {
		p.addf(`<line x1="%s" x2="%s" y1="12" y2="12" class="line %s"/>`, num(x), num(x+18), k.class)
		p.text(x+24, 16, "legend", k.name)
		x += 48 + 7*float64(len(k.name))
	}
	for _, k := range c.curves {
		p.curve(k, scale, bottom, c.step)
	}
	for _, at := range c.marks {
		p.addf(`<line x1="%s" x2="%s" y1="%s" y2="%s" class="mark"/>`, num(p.x(at)), num(p.x(at)), num(top), num(bottom))
	}
	return p.svg(c.title)
}

// curve draws one line, in points where values are missing.
func (p *plot) curve(k curve, sc scale, bottom float64, steps bool) {
	if !slices.ContainsFunc(k.values, func(v float64) bool { return v != 0 && !math.IsNaN(v) }) {
		return // a line along the bottom would only hide others
	}
	var path, area strings.Builder
	began, lastX := math.NaN(), 0.0
	points := 0 // points of the piece
	end := func() {
		if points == 1 { // a point by itself is a dot
			path.WriteString("h.1")
		}
		points = 0
		if k.fill && !math.IsNaN(began) {
			fmt.Fprintf(&area, "L%s %sL%s %sZ", num(lastX), num(bottom), num(began), num(bottom))
		}
		began = math.NaN()
	}
	for i, v := range k.values {
		if math.IsNaN(v) {
			end()
			continue
		}
		x := min(plotRight, p.x(p.from.Add(time.Duration(i)*p.step+p.step/2)))
		y := sc.y(v)
		cmd := "L"
		if math.IsNaN(began) {
			cmd, began = "M", x
		} else if steps {
			fmt.Fprintf(&path, "H%s", num(x))
			fmt.Fprintf(&area, "H%s", num(x))
		}
		fmt.Fprintf(&path, "%s%s %s", cmd, num(x), num(y))
		fmt.Fprintf(&area, "%s%s %s", cmd, num(x), num(y))
		lastX = x
		points++
	}
	end()
	if k.fill {
		p.addf(`<path d="%s" class="area %s"/>`, area.String(), k.class)
	}
	p.addf(`<path d="%s" class="line %s"/>`, path.String(), k.class)
}
