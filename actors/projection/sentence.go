package projection

import (
	"strings"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Sentence says where a run is and why, why it last moved and what it waits for. It is
// made of what the API shows of the run beside it.
func Sentence(r *api.GetRunResponse) string {
	run := r.GetRun()
	text := "The run " + statusClause(run.GetStatus())
	if run.GetDormant() {
		text += ", asleep"
	}
	if worker := run.GetWorkerId(); worker != "" {
		verb := ", bound to "
		if run.GetFinishedAt() != nil {
			verb = ", last on "
		}
		text += verb + worker + moved(r.GetBindings(), worker)
	}
	text += "."
	if waits := run.GetWaitingFor(); waits != "" {
		text += " It waits: " + waits + "."
	}
	if f := run.GetFailure(); f != nil {
		text += " " + failureText(f)
	}
	if end := api.EndStepText(r); end != "" {
		text += " Its end step " + end + "."
	}
	return text
}

// moved says why the last binding that came from another worker is where it is; empty if
// none did.
func moved(bindings []*api.BindingRecord, worker string) string {
	if len(bindings) == 0 {
		return ""
	}
	b := bindings[len(bindings)-1]
	switch from := b.GetFromWorker(); {
	case b.GetWorkerId() != worker || from == "":
		return ""
	case from == worker:
		return ", bound there anew: " + b.GetReason().Words()
	default:
		return ", where it moved from " + from + ": " + b.GetReason().Words()
	}
}

// statusClause says a status after "the run".
func statusClause(s messages.RunStatus) string {
	word := strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_"))
	switch s {
	case messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED:
		return "has " + word
	case messages.RunStatus_RUN_STATUS_CANCELED:
		return "was canceled"
	case messages.RunStatus_RUN_STATUS_SET_ASIDE:
		return "is set aside: a later version wrote it"
	}
	return "is " + word
}
