package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tkcoord/tkcoord/jepsen/check"
)

// What a report adds to the directory of a run.
const (
	ResultFile    = "result.json"
	PageFile      = "report.html"
	PorcupineFile = "porcupine.html"
)

// A Result is the verdict on a run, for programs.
type Result struct {
	OK       bool            `json:"ok"`
	Name     string          `json:"name"`
	Seed     uint64          `json:"seed"`
	Version  string          `json:"version"`
	Bug      string          `json:"bug,omitempty"`
	Workload string          `json:"workload"`
	Nemeses  []string        `json:"nemeses"`
	Command  string          `json:"command"`
	Verdicts []check.Verdict `json:"verdicts"`
}

// NewResult joins a run's description and its verdicts.
func NewResult(x *check.Case, verdicts []check.Verdict) Result {
	return Result{
		OK: check.OK(verdicts), Name: x.Name, Seed: x.Seed, Version: x.Version, Bug: x.Bug,
		Workload: x.Workload, Nemeses: x.Nemeses, Command: x.Command, Verdicts: verdicts,
	}
}

// Failed names the verdicts that are not OK.
func (r Result) Failed() []string {
	var names []string
	for _, v := range r.Verdicts {
		if !v.OK {
			names = append(names, v.Name)
		}
	}
	return names
}

// Write puts result.json, the page and porcupine's view into the directory of a
// run, replacing what an earlier judgement left there.
func Write(dir string, x *check.Case, verdicts []check.Verdict) (Result, error) {
	r := NewResult(x, verdicts)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(dir, ResultFile), append(data, '\n'), 0o644); err != nil {
		return r, err
	}
	view, err := porcupineView(x)
	if err != nil {
		return r, fmt.Errorf("porcupine's view: %w", err)
	}
	if view.Page != "" {
		if err := os.WriteFile(filepath.Join(dir, PorcupineFile), []byte(view.Page), 0o644); err != nil {
			return r, err
		}
	}
	page, err := Page(x, r, view)
	if err != nil {
		return r, err
	}
	return r, os.WriteFile(filepath.Join(dir, PageFile), page, 0o644)
}
