package sdk_test

import (
	"slices"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// TestWordsOfTheProtocol: what steps are told in words is what the protocol
// says, and no word is left over.
func TestWordsOfTheProtocol(t *testing.T) {
	for _, why := range []sdk.StateReason{
		sdk.ReasonFirst, sdk.ReasonChild, sdk.ReasonWorkerLost, sdk.ReasonWorkerLeft, sdk.ReasonWorkerRestarted, sdk.ReasonWorkerSuperseded,
		sdk.ReasonWorkerDraining, sdk.ReasonWorkerBusy, sdk.ReasonStepGone, sdk.ReasonStateLost, sdk.ReasonIdle, sdk.ReasonReplayed,
	} {
		if messages.ReasonOf(string(why)) == messages.Reason_REASON_UNSPECIFIED {
			t.Errorf("no reason has the words %q", why)
		}
	}
	whys := []sdk.Why{"", sdk.RunEnded, sdk.Rebound, sdk.WorkerStopping, sdk.Evicted, sdk.StateLost, sdk.Idle}
	for n, name := range messages.ReleaseReason_name {
		if words := messages.ReleaseReason(n).Words(); !slices.Contains(whys, sdk.Why(words)) {
			t.Errorf("%s has the words %q, which the SDK does not have", name, words)
		}
	}
	if n := len(messages.ReleaseReason_name); n != len(whys) {
		t.Errorf("the protocol has %d reasons of a release, the SDK %d", n, len(whys))
	}
}
