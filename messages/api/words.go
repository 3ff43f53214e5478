package api

import (
	"strings"
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

// Word is the phase as people read it: "running".
func (p StepPhase) Word() string { return word(p.String(), "STEP_PHASE_") }

// Ended says that no attempt of the step will follow.
func (p StepPhase) Ended() bool {
	switch p {
	case StepPhase_STEP_PHASE_SUCCEEDED, StepPhase_STEP_PHASE_FAILED, StepPhase_STEP_PHASE_SKIPPED, StepPhase_STEP_PHASE_CANCELED:
		return true
	}
	return false
}

// Word is the state as people read it: "up".
func (s WorkerState) Word() string { return word(s.String(), "WORKER_STATE_") }

// Word is the role as people read it: "server".
func (r MemberRole) Word() string { return word(r.String(), "MEMBER_ROLE_") }

// Word is the state as people read it: "ready".
func (s MemberState) Word() string { return word(s.String(), "MEMBER_STATE_") }

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }
