package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is the package that nodes are built from.
const Program = "github.com/tkcoord/tkcoord/cmd/tkcoord"

// BuildOptions say how to build a program of this module.
type BuildOptions struct {
	Package string   // import path
	Tags    []string // beside faults, without which a program has no seams
	LDFlags string   // for the linker, as in -X importpath.name=value
	Race    bool     // with the race detector, which makes it several times slower
	Out     string   // file to write
}

// Build compiles a program with the Go toolchain. It must run within the
// module.
func Build(ctx context.Context, o BuildOptions) error {
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return err
	}
	args := []string{"build", "-tags", strings.Join(append([]string{"faults"}, o.Tags...), ","), "-o", o.Out}
	if o.Race {
		args = append(args, "-race")
	}
	if o.LDFlags != "" {
		args = append(args, "-ldflags", o.LDFlags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, o.Package)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, output.Bytes())
	}
	return nil
}
