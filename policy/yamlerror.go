package policy

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// badYAML reports that data is not YAML, which the library found after it had
// read so many lines. Its error often names the line where the surrounding map
// begins, or none. The line to report is the first that cannot be read: the one
// after the longest readable beginning of the file. If that is far back, as for
// a quote that is never closed, the library's line is the better one.
func (t *tree) badYAML(data []byte, read int, err error) {
	const tries = 16
	line, message := 0, err.Error()
	if m := yamlError.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1]) // 0 if it names none
		message = m[2]
	}
	for l := read; l > max(0, read-tries); l-- {
		if readable(data, l-1) {
			line = l
			break
		}
	}
	t.refuse(line, nil, "not YAML: %s", message)
}

// yamlError takes the line out of the library's errors, which have no field
// for it.
var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s:.*))$`)

// readable reports whether the first n lines of data are YAML.
func readable(data []byte, n int) bool {
	end := 0
	for range n {
		end += bytes.IndexByte(data[end:], '\n') + 1
	}
	dec := yaml.NewDecoder(bytes.NewReader(data[:end]))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// A lineReader hands out one line at a time and so knows how far its reader
// got.
type lineReader struct {
	rest []byte
	read int  // lines of which something was handed out
	open bool // the last of them was not handed out to its end
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	if !r.open {
		r.read++
	}
	r.open = n < end
	r.rest = r.rest[n:]
	return n, nil
}
