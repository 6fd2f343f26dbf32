package host

import (
	"os"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/host/standin"
)

func TestMain(m *testing.M) {
	standin.MainIfAsked()
	os.Exit(m.Run())
}
