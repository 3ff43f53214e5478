package run

import (
	"testing"
	"time"
)

func TestContactIsResent(t *testing.T) {
	var c contact
	c.send(scriptEpoch)
	if at := c.resendAt(time.Second, time.Minute); !at.Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("unanswered: again at %v", at)
	}
	c.hear(scriptEpoch.Add(time.Second))
	if at := c.resendAt(time.Second, time.Minute); !at.Equal(scriptEpoch.Add(time.Minute + time.Second)) {
		t.Fatalf("answered: again at %v", at)
	}
	c.send(scriptEpoch.Add(2 * time.Second))
	if at := c.resendAt(time.Second, time.Minute); !at.Equal(scriptEpoch.Add(3 * time.Second)) {
		t.Fatalf("unanswered again: again at %v", at)
	}
	c.startKnown(scriptEpoch.UnixMicro(), time.Second)
	if c.startedUs != scriptEpoch.UnixMicro() || !c.recordAt.Equal(scriptEpoch.Add(time.Second)) {
		t.Fatalf("the start is recorded at %v", c.recordAt)
	}
}
