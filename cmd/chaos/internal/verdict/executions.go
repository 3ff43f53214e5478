package verdict

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// checkExecutions compares the ledger with the attempts of the history.
func (h *history) checkExecutions() {
	for _, e := range h.executions {
		h.checkExecution(e)
	}
	for _, a := range h.attempts {
		if len(a.executions) > 1 {
			h.breaks(RuleRepeated, "%s#%d was executed %d times on %s", a.step, a.number, len(a.executions), place(a.worker))
		}
		switch a.ending {
		case succeeded:
			h.checkOutput(a)
		case failed:
			h.checkFailure(a)
		case rebuilt:
			if e := a.execution(); e == nil || e.End.IsZero() || e.Failed {
				h.breaks(RuleAttempts, "%s#%d is rebuilt, and was not executed to its end", a.step, a.number)
			}
		}
	}
}

// checkExecution gives an execution to its attempt, and checks that it is of it.
func (h *history) checkExecution(e *ledger.Execution) {
	a := h.byKey[attemptKey{e.Step, int32(e.Attempt)}]
	if a == nil {
		h.breaks(RuleAttempts, "%s#%d was executed on %s, and was never dispatched", e.Step, e.Attempt, e.Worker)
		return
	}
	a.executions = append(a.executions, e)
	switch {
	case a.worker.GetWorkerId() != e.Worker || a.worker.GetIncarnation() != e.Incarnation:
		h.breaks(RuleAttempts, "%s#%d was executed on %s~%s, and dispatched to %s", e.Step, e.Attempt, e.Worker, e.Incarnation, place(a.worker))
	case a.epoch != e.Epoch:
		h.breaks(RuleAttempts, "%s#%d was executed in epoch %d, and dispatched in epoch %d", e.Step, e.Attempt, e.Epoch, a.epoch)
	case a.ending == revoked:
		h.breaks(RuleAttempts, "%s#%d was executed on %s, although it was withdrawn (%s)", e.Step, e.Attempt, e.Worker, a.reason.Words())
	case e.Begin.Before(a.at.Add(-slack)):
		h.breaks(RuleAttempts, "%s#%d was executed at %s, before it was dispatched at %s", e.Step, e.Attempt, clock(e.Begin), clock(a.at))
	}
}

// execution that an attempt's result must come from; nil if there is none.
func (a *attempt) execution() *ledger.Execution {
	if len(a.executions) == 0 {
		return nil
	}
	return a.executions[0]
}

// checkOutput compares a recorded output with the ledger and with what the
// input asks for.
func (h *history) checkOutput(a *attempt) {
	e := a.execution()
	switch {
	case e == nil:
		h.breaks(RuleAttempts, "%s#%d succeeded, and was never executed", a.step, a.number)
	case e.End.IsZero() || e.Failed:
		h.breaks(RuleAttempts, "%s#%d succeeded, and its execution on %s did not", a.step, a.number, e.Worker)
	case e.Note != string(a.output) && a.step != h.EndStep:
		h.breaks(RuleAttempts, "%s#%d returned %q, and %q is recorded", a.step, a.number, e.Note, a.output)
	}
	if a.step == h.EndStep {
		return // It returns nothing.
	}
	var out Output
	if err := json.Unmarshal(a.output, &out); err != nil {
		h.breaks(RuleWrongOutput, "%s#%d has the output %q: %v", a.step, a.number, a.output, err)
		return
	}
	if e != nil && out.Execution != e.ID {
		h.breaks(RuleAttempts, "%s#%d recorded what execution %s returned, and %s is its own", a.step, a.number, out.Execution, e.ID)
	}
	if out.Inputs != nil && !slices.Equal(out.Inputs, a.inputs) {
		h.breaks(RuleRebuild, "%s#%d was given what executions %v returned, and recorded are those of %v", a.step, a.number, out.Inputs, a.inputs)
	}
	if out.Untold {
		h.breaks(RuleStateUntold, "%s#%d found no state on %s, and was not told that it is new", a.step, a.number, place(a.worker))
	}
	if h.Want == nil {
		h.breaks(RuleWrongOutput, "the run is not of the load, or its input does not decode")
	} else if want := h.Want.Values[a.step]; out.Value != want {
		h.breaks(RuleWrongOutput, "%s#%d returned %q, its input asks for %q", a.step, a.number, out.Value, want)
	}
}

// oneLine is what the ledger makes of a note.
var oneLine = strings.NewReplacer("\t", " ", "\n", " ")

// checkFailure: a step fails because its input says so, or because it overran;
// for everything else the engine has no reason to execute it again. Each reason is
// a case.
//
//gocyclo:ignore
func (h *history) checkFailure(a *attempt) {
	e := a.execution()
	message := oneLine.Replace(a.failure.GetMessage())
	switch code := messages.Code(a.failure.GetCode()); {
	case e == nil:
		h.breaks(RuleAttempts, "%s#%d failed (%s), and was never executed", a.step, a.number, message)
	case code == messages.CodeExecutionTimeout && h.Want != nil && h.Want.Overruns == a.step:
	case code == messages.CodeStateNotBuilt && h.Want != nil && h.Want.BindFails && e.Failed:
		h.c.report.Seen.BindFailed++
	case code != messages.CodeUserError && code != messages.CodeStepPanicked:
		h.breaks(RuleRepeated, "%s#%d failed for no purpose: %s: %s", a.step, a.number, code, message)
	case e.End.IsZero() || !e.Failed || !leftAs(e.Note, code, message):
		h.breaks(RuleAttempts, "%s#%d failed with %s %q, its execution ended with %q (failed: %t)", a.step, a.number, code, message, e.Note, e.Failed)
	case !strings.HasPrefix(e.Note, OnPurpose):
		h.breaks(RuleRepeated, "%s#%d failed for no purpose: %s", a.step, a.number, message)
	case code == messages.CodeStepPanicked || e.Note != message:
		h.c.report.Seen.OtherDoors++
	}
}

// checkEnds compares how each generation ended with what the input asks for.
func (h *history) checkEnds() {
	last := h.generation()
	if !last.ended || h.Status == messages.RunStatus_RUN_STATUS_SET_ASIDE {
		h.breaks(RuleNotEnded, "it is %s %s after its start; the last entry is of %s", h.Status, h.c.evidence.At.Sub(h.at).Round(time.Second), clock(h.Entries[len(h.Entries)-1].At))
	}
	for _, g := range h.generations {
		switch {
		case !g.ended || h.Want == nil:
		case g.canceled:
			h.c.report.Seen.Canceled++
			if g.status != messages.RunStatus_RUN_STATUS_CANCELED {
				h.breaks(RuleIneffective, "a cancel is recorded, and the run ends as %s", g.status)
			}
		case h.Want.Fails != "":
			if g.status != messages.RunStatus_RUN_STATUS_FAILED || g.failure.GetCode() != string(messages.CodeUserError) {
				h.breaks(RuleWrongOutput, "ends as %s (%s), and is to fail", g.status, g.failure.GetMessage())
			}
		case g.status != messages.RunStatus_RUN_STATUS_SUCCEEDED:
			h.breaks(RuleWrongOutput, "ends as %s (%s: %s), and is to succeed", g.status, g.failure.GetCode(), g.failure.GetMessage())
		}
	}
}
