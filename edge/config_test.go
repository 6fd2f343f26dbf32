package edge

import (
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

func TestValidateReportsEverything(t *testing.T) {
	c := quietConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("Open(Config{}) succeeded")
	}
	c = Config{Addresses: []string{"a:1", " b:2"}, EdgeID: "a\nb", Fail: 7, MaxKeys: -1, Rates: clock.Rates{Drift: -1}}
	c.Exchange = (&cluster{}).exchange
	err := c.Validate()
	if err == nil {
		t.Fatal("Validate() = nil")
	}
	for _, field := range []string{
		"Addresses[1]", "Exchange", "EdgeID", "Fail", "MaxKeys", "IdleAfter", "Horizon", "AttemptTimeout", "Rates", "Monotonic", "Logger",
	} {
		if !strings.Contains(err.Error(), field+":") {
			t.Errorf("nothing about %s in:\n%v", field, err)
		}
	}
}

func TestDefaultConfigIsFresh(t *testing.T) {
	a, b := DefaultConfig(), DefaultConfig()
	if a.EdgeID == b.EdgeID {
		t.Errorf("EdgeID %q twice", a.EdgeID)
	}
	if at := a.Monotonic(); at < 0 || a.Monotonic() < at {
		t.Errorf("Monotonic runs back from %d", at)
	}
}
