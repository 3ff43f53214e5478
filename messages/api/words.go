package api

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
)

// Moment is a time as the API has it: nil for one that is not set.
func Moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() || t.UnixMicro() == 0 {
		return nil
	}
	return timestamppb.New(t)
}

// Phases of a step, as JSON and clients of all versions have them.
const (
	PhaseWaiting    = "waiting"
	PhaseReady      = "ready"
	PhaseBackoff    = "backoff"
	PhaseDispatched = "dispatched"
	PhaseRunning    = "running"
	// PhaseRebuilding: it had succeeded, and runs again for the local state that it
	// builds.
	PhaseRebuilding = "rebuilding"
	// PhaseAway: it was begun on the worker of a HARD run, which is out of reach. It may
	// run there, or be made again when the worker is back.
	PhaseAway = "away"
	// PhaseSuspended: it waits in a call, and its attempt was let go meanwhile.
	PhaseSuspended = "suspended"
	PhaseSucceeded = "succeeded"
	PhaseFailed    = "failed"
	PhaseSkipped   = "skipped"
	PhaseCanceled  = "canceled"
)

// OutcomeLive is that of an attempt which has none yet.
const OutcomeLive = "live"

// EndStepText says in words how the end step of a run came out or, until it has, how the
// run is to end; empty if none is executed.
func EndStepText(r *GetRunResponse) string {
	for _, s := range r.GetSteps() {
		if !s.GetEndStep() || r.GetEnding() == nil {
			continue
		}
		text := s.GetName() + " is " + s.GetPhase()
		switch f := s.GetFailure(); {
		case !PhaseEnded(s.GetPhase()):
			text += "; then the run is " + OutcomeText(r.GetEnding())
		case f != nil:
			text += ", " + f.GetCode() + ": " + firstLine(f)
		}
		return text
	}
	return ""
}

// OutcomeText says in words how a run is to end, and why.
func OutcomeText(e *messages.RunEnding) string {
	text := strings.ToLower(strings.TrimPrefix(e.GetStatus().String(), "RUN_STATUS_"))
	if f := e.GetFailure(); f != nil {
		text += ", " + f.GetCode() + ": " + firstLine(f)
	}
	return text
}

func firstLine(f *messages.Failure) string {
	line, _, _ := strings.Cut(f.GetMessage(), "\n")
	return line
}

// PhaseEnded says that no attempt of a step in this phase will follow.
func PhaseEnded(phase string) bool {
	switch phase {
	case PhaseSucceeded, PhaseFailed, PhaseSkipped, PhaseCanceled:
		return true
	}
	return false
}

// States of a worker.
const (
	WorkerUp       = "up"
	WorkerDraining = "draining"
	WorkerGone     = "gone"
)

// Roles and states of a member of the cluster.
const (
	RoleServer     = "server"
	RoleWorker     = "worker"
	MemberJoining  = "joining"
	MemberReady    = "ready"
	MemberDraining = "draining"
	// MemberLeaving is a worker whose process is to end.
	MemberLeaving = "leaving"
)

// Topics of a watch; TopicWatch is of what befalls the watch itself.
const (
	TopicRuns    = "runs"
	TopicWorkers = "workers"
	TopicMembers = "members"
	TopicWatch   = "watch"
)
