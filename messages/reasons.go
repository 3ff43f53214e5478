package messages

import (
	"fmt"
	"strconv"
)

// reasonWords is what people read of a reason: in the command line, the logs,
// errors and the public strings of the SDK. Programs read the enum.
var reasonWords = map[Reason]string{
	Reason_REASON_UNSPECIFIED:         "",
	Reason_REASON_FIRST:               "first",
	Reason_REASON_CHILD:               "child",
	Reason_REASON_REPLAYED:            "replayed",
	Reason_REASON_WORKER_LOST:         "worker lost",
	Reason_REASON_WORKER_LEFT:         "worker left",
	Reason_REASON_WORKER_RESTARTED:    "worker restarted",
	Reason_REASON_WORKER_SUPERSEDED:   "worker superseded",
	Reason_REASON_WORKER_DRAINING:     "worker draining",
	Reason_REASON_WORKER_BUSY:         "worker busy",
	Reason_REASON_STEP_GONE:           "step gone",
	Reason_REASON_SLOTS_HELD:          "slots held",
	Reason_REASON_STATE_LOST:          "state lost",
	Reason_REASON_LEASE_EXPIRED:       "lease expired",
	Reason_REASON_CANCELED_BY_WORKER:  "canceled by its worker",
	Reason_REASON_UNKNOWN_TO_WORKER:   "unknown to its worker",
	Reason_REASON_CANCEL_NOT_ANSWERED: "worker did not answer the cancel",
	Reason_REASON_REVOKED:             "revoked",
	Reason_REASON_SCHEDULE_TIMEOUT:    "schedule timeout",
	Reason_REASON_EXECUTION_TIMEOUT:   "execution timeout",
	Reason_REASON_ENDED:               "ended",
	Reason_REASON_HANDED_OFF:          "handed off",
	Reason_REASON_ATTEMPT_UNKNOWN:     "attempt is not known",
	Reason_REASON_ATTEMPT_LOST:        "attempt was lost",
	Reason_REASON_PARENT_FAILED:       "parent failed",
	Reason_REASON_PARENT_SKIPPED:      "parent skipped",
	Reason_REASON_RUN_CANCELED:        "run canceled",
	Reason_REASON_REBUILD_UNWANTED:    "rebuild not wanted",
	Reason_REASON_IDLE:                "idle",
	Reason_REASON_KEPT_MAX:            "worker keeps as many as it may",
	Reason_REASON_OTHER_OUTCOME:       "for other outcomes",
}

// releaseWords is reasonWords for releases. They are the SDK's values of Why.
var releaseWords = map[ReleaseReason]string{
	ReleaseReason_RELEASE_REASON_UNSPECIFIED:     "",
	ReleaseReason_RELEASE_REASON_RUN_ENDED:       "run-ended",
	ReleaseReason_RELEASE_REASON_REBOUND:         "rebound",
	ReleaseReason_RELEASE_REASON_WORKER_STOPPING: "worker-stopping",
	ReleaseReason_RELEASE_REASON_EVICTED:         "evicted",
	ReleaseReason_RELEASE_REASON_STATE_LOST:      "state-lost",
	ReleaseReason_RELEASE_REASON_IDLE:            "idle",
}

// callKindWords is reasonWords for kinds of calls: the function of the SDK.
var callKindWords = map[CallKind]string{
	CallKind_CALL_KIND_UNSPECIFIED: "",
	CallKind_CALL_KIND_DO:          "Do",
	CallKind_CALL_KIND_RECEIVE:     "Receive",
	CallKind_CALL_KIND_SLEEP:       "Sleep",
	CallKind_CALL_KIND_CHILD:       "Child.Wait",
	CallKind_CALL_KIND_EVENT:       "WaitEvent",
	CallKind_CALL_KIND_FIRST:       "First",
	CallKind_CALL_KIND_ALL:         "All",
	CallKind_CALL_KIND_SIGNAL:      "SignalRun",
	CallKind_CALL_KIND_START:       "StartOrSignal",
	CallKind_CALL_KIND_CONTINUE:    "ContinueAs",
}

// Words is the kind as people read it; empty for none.
func (k CallKind) Words() string {
	if words, ok := callKindWords[k]; ok {
		return words
	}
	return "kind " + strconv.Itoa(int(k)) // a later version's
}

// Words is the reason as people read it; empty for none.
func (r Reason) Words() string {
	if words, ok := reasonWords[r]; ok {
		return words
	}
	return "reason " + strconv.Itoa(int(r)) // a later version's
}

// ReasonOf is the reason that has these words; REASON_UNSPECIFIED if none has.
func ReasonOf(words string) Reason {
	for r, w := range reasonWords {
		if w == words {
			return r
		}
	}
	return Reason_REASON_UNSPECIFIED
}

// Words is the reason as people read it; empty for none.
func (r ReleaseReason) Words() string {
	if words, ok := releaseWords[r]; ok {
		return words
	}
	return "reason " + strconv.Itoa(int(r)) // a later version's
}

// Why says in words why the step was skipped.
func (x *StepSkipped) Why() string {
	if x.GetReason() == Reason_REASON_OTHER_OUTCOME {
		return "the end step is for other outcomes of the run"
	}
	did := "failed"
	if x.GetReason() == Reason_REASON_PARENT_SKIPPED {
		did = "skipped"
	}
	return fmt.Sprintf("parent %q %s", x.GetParent(), did)
}

// Why says in words why the step was canceled.
func (x *StepCanceled) Why() string {
	if x.GetReason() == Reason_REASON_REBUILD_UNWANTED {
		return fmt.Sprintf("rebuild for step %q, which has failed", x.GetForStep())
	}
	return withText(x.GetReason(), x.GetText())
}

// Why says in words why the attempt was lost: what the step said, if it did.
func (x *AttemptLost) Why() string {
	if x.GetText() != "" {
		return x.GetText()
	}
	return x.GetReason().Words()
}

// Why says in words why the result was refused.
func (x *ResultRefused) Why() string {
	if x.GetReason() == Reason_REASON_ATTEMPT_LOST {
		return fmt.Sprintf("%s; epoch %d, newest %d", x.GetReason().Words(), x.GetEpoch(), x.GetNewestEpoch())
	}
	return x.GetReason().Words()
}

// Why says in words why the attempt is canceled: what the caller said, if the
// run was.
func (x *CancelAttempt) Why() string {
	switch {
	case x.GetReason() != Reason_REASON_RUN_CANCELED:
		return x.GetReason().Words()
	case x.GetText() == "":
		return "no reason given"
	}
	return x.GetText()
}

func withText(r Reason, text string) string {
	if text == "" {
		return r.Words()
	}
	return r.Words() + ": " + text
}
