package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
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
	PhaseAway      = "away"
	PhaseSucceeded = "succeeded"
	PhaseFailed    = "failed"
	PhaseSkipped   = "skipped"
	PhaseCanceled  = "canceled"
)

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
