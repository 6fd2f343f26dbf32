package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// writeJSON writes v as one indented JSON document.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// A table is text in aligned columns. Rows of different lengths are allowed.
type table struct {
	rows  [][]string
	least int // width of a column with the space behind it
}

// facts is the width that lists of names and values have, to align with others.
const facts = 11

// row adds a row. Cells are written with Sprint; an empty one shows as "-".
func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = oneLine(fmt.Sprint(c)); row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// write writes the table.
func (t *table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, t.least, 8, 2, ' ', 0)
	for _, row := range t.rows {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t")) // Flush tells
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// print writes lines to stdout.
func (a *cli) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.stdout, format, args...); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// instant shows Unix ms; 0 is none.
func instant(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// span shows ms as a duration, and the present span of nothing as 0s.
func span(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// count shows n things: "1 edge", "2 edges".
func count[N int | int64 | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
