package sdk_test

import (
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// TestWordsOfTheProtocol: what steps are told in words is what the protocol
// says, and no word is left over.
func TestWordsOfTheProtocol(t *testing.T) {
	for _, why := range []sdk.StateReason{
		sdk.ReasonFirst, sdk.ReasonChild, sdk.ReasonWorkerLost, sdk.ReasonWorkerLeft, sdk.ReasonWorkerRestarted, sdk.ReasonWorkerSuperseded,
		sdk.ReasonWorkerDraining, sdk.ReasonWorkerBusy, sdk.ReasonStepGone, sdk.ReasonStateLost, sdk.ReasonReplayed,
	} {
		if messages.ReasonOf(string(why)) == messages.Reason_REASON_UNSPECIFIED {
			t.Errorf("no reason has the words %q", why)
		}
	}
	whys := []sdk.Why{sdk.RunEnded, sdk.Rebound, sdk.WorkerStopping, sdk.Evicted, sdk.StateLost}
	for _, why := range whys {
		if messages.ReleaseReasonOf(string(why)) == messages.ReleaseReason_RELEASE_REASON_UNSPECIFIED {
			t.Errorf("no release has the words %q", why)
		}
	}
	if n := len(messages.ReleaseReason_name) - 1; n != len(whys) {
		t.Errorf("the protocol has %d reasons of a release, the SDK %d", n, len(whys))
	}
}
