package host

import (
	"fmt"
	"os"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/host/standin"
)

func TestMain(m *testing.M) {
	standin.MainIfAsked()
	if arg := os.Getenv(crashingEnv); arg != "" {
		fmt.Fprintln(os.Stderr, crashingHarness(arg))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
