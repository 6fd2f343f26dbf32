// Package seam is where the fault suite reaches into a process that it runs: a
// file says how the process's clocks are wrong and its disk is slow, and a
// Source in the process obeys it. Nothing outside the process is touched, so
// one machine can hold many processes whose clocks disagree.
//
// A tkcoord built with the faults tag has a Source behind --fault-file; the
// suite's edges have one as well.
package seam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Faults is the content of a fault file. The zero value is a healthy process.
type Faults struct {
	// WallOffsetMS is added to the wall clock. Setting it is a jump.
	WallOffsetMS int64 `json:"wall_offset_ms,omitempty"`
	// WallRatePPM makes the wall clock gain on real time, or fall behind it, for
	// as long as it is set; below -1,000,000 the clock runs backwards. What was
	// gained goes when the rate is set to 0, as when ntpd steps a clock.
	WallRatePPM int64 `json:"wall_rate_ppm,omitempty"`
	// WallStrobeMS is added to the wall clock in every second period of
	// WallStrobePeriodMS.
	WallStrobeMS       int64 `json:"wall_strobe_ms,omitempty"`
	WallStrobePeriodMS int64 `json:"wall_strobe_period_ms,omitempty"`

	// MonotonicRatePPM makes the monotonic clock run fast or slow. The clock
	// stays continuous when it changes. Up to the ρ that the cluster was formed
	// with it is a fault that all guarantees must withstand; beyond it breaks
	// assumption A1.
	MonotonicRatePPM int64 `json:"monotonic_rate_ppm,omitempty"`

	// StoreDelayMS is how much longer each write to the log store takes.
	StoreDelayMS int64 `json:"store_delay_ms,omitempty"`
	// StoreHang holds each write to the log store until it is false again. The
	// node gives up before that if its own deadline for writes comes first.
	StoreHang bool `json:"store_hang,omitempty"`
}

// Bounds of the rates. At the lower one a monotonic clock runs at a tenth of its
// speed: it never stands still.
const (
	leastMonotonicRate = -900_000
	mostRate           = 10_000_000
	// mostOffset keeps sums in range: the wall clock stays before the year 10000.
	mostOffset = int64(clock.MaxInstant) / 2
)

// Validate reports all values that are out of range.
func (f Faults) Validate() error {
	var errs []error
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("%s: got %d, want %d to %d", name, v, least, most))
		}
	}
	within("wall_offset_ms", f.WallOffsetMS, -mostOffset, mostOffset)
	within("wall_rate_ppm", f.WallRatePPM, -mostRate, mostRate)
	within("wall_strobe_ms", f.WallStrobeMS, -mostOffset, mostOffset)
	within("wall_strobe_period_ms", f.WallStrobePeriodMS, 0, mostOffset)
	within("monotonic_rate_ppm", f.MonotonicRatePPM, leastMonotonicRate, mostRate)
	within("store_delay_ms", f.StoreDelayMS, 0, 60_000)
	if f.WallStrobeMS != 0 && f.WallStrobePeriodMS == 0 {
		errs = append(errs, errors.New("wall_strobe_ms without wall_strobe_period_ms"))
	}
	return errors.Join(errs...)
}

// Read returns the faults that a file asks for. A file that does not exist asks
// for none; a key that is not known is an error, since a fault that was asked
// for and not injected would count as survived.
func Read(path string) (Faults, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Faults{}, nil
	}
	if err != nil {
		return Faults{}, err
	}
	var f Faults
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Faults{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := f.Validate(); err != nil {
		return Faults{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// A File is the suite's end of a seam: the file of one process. Safe for
// concurrent use, so that several faults can keep their own fields in it.
type File struct {
	path string

	mu     sync.Mutex // guards the rest and the file
	faults Faults
}

// NewFile returns the seam of a process that is healthy. The file is written
// when something is to be changed.
func NewFile(path string) *File { return &File{path: path} }

// Path is what the process is told with --fault-file.
func (f *File) Path() string { return f.path }

// Change edits the faults and writes the file at once and as a whole. The
// process follows within PollEvery, or when it is next started or resumed. On
// an error the old faults stay.
func (f *File) Change(edit func(*Faults)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.faults
	edit(&next)
	if err := next.Validate(); err != nil {
		return err
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := replace(f.path, data); err != nil {
		return fmt.Errorf("fault file: %w", err)
	}
	f.faults = next
	return nil
}

// Faults returns what the file asks for.
func (f *File) Faults() Faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults
}

// replace exchanges a file's content in one step.
func replace(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
