package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// Named values of the durations of a definition, in milliseconds.
const (
	// BusyPatienceNeverMs: a SOFT run never leaves a worker for being busy.
	BusyPatienceNeverMs int64 = -1
	// BusyPatienceAtOnceMs: a SOFT run leaves a busy worker at once.
	BusyPatienceAtOnceMs int64 = -2
	// KeepWhileWaitingMs: a step that waits stays in its worker for as long as it does.
	KeepWhileWaitingMs int64 = -1
	// KeepNotAtAllMs: it does not stay there.
	KeepNotAtAllMs int64 = -2
	// TimeoutNeverMs: the schedule or execution timeout never passes.
	TimeoutNeverMs int64 = -1
)

// Defaults of what a definition leaves at zero.
const (
	DefaultPool             = "default"
	DefaultPriority         = int32(2)
	DefaultBusyPatience     = 30 * time.Second
	DefaultKeepFor          = 10 * time.Minute
	DefaultKeptMax          = 10_000
	DefaultBackoff          = time.Second
	DefaultBackoffMax       = 60 * time.Second
	DefaultScheduleTimeout  = 24 * time.Hour
	DefaultExecutionTimeout = time.Hour
	DefaultLostAttemptsMax  = 5

	// Of end steps: until they are over the run has not ended for those who wait for it.
	DefaultEndScheduleTimeout  = time.Hour
	DefaultEndExecutionTimeout = 10 * time.Minute
)

// Patience says how a SOFT run waits for its busy worker.
type Patience int

const (
	// PatienceFor waits for a duration, then moves.
	PatienceFor Patience = iota
	// PatienceForever never moves because the worker is busy.
	PatienceForever
	// PatienceNone moves at once.
	PatienceNone
)

// HashDefinition identifies a version of a workflow: the first 16 bytes, in
// hex, of the SHA-256 of the definition's deterministic encoding.
func HashDefinition(d *WorkflowDefinition) string {
	// Marshalling fails only for text that is not UTF-8, which ValidateDefinition refuses.
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// BusyPatience returns how a SOFT run waits for its busy worker; the duration
// counts for PatienceFor only and defaults to DefaultBusyPatience.
func (d *WorkflowDefinition) BusyPatience() (time.Duration, Patience) {
	switch ms := d.GetBusyPatienceMs(); ms {
	case BusyPatienceNeverMs:
		return 0, PatienceForever
	case BusyPatienceAtOnceMs:
		return 0, PatienceNone
	default:
		return millisOr(ms, DefaultBusyPatience), PatienceFor
	}
}

// KeepFor is how long a step that waits stays in its worker; false if that is for as
// long as it waits. 0 milliseconds are DefaultKeepFor.
func KeepFor(ms int64) (time.Duration, bool) {
	switch ms {
	case KeepWhileWaitingMs:
		return 0, false
	case KeepNotAtAllMs:
		return 0, true
	}
	return millisOr(ms, DefaultKeepFor), true
}

// EffectivePool is the pool that serves the workflow: DefaultPool if the
// definition names none.
func (d *WorkflowDefinition) EffectivePool() string { return EffectivePool(d.GetPool()) }

// EffectivePool is the pool's name, DefaultPool for the empty one.
func EffectivePool(pool string) string {
	if pool == "" {
		return DefaultPool
	}
	return pool
}

// EffectivePriority is the first of the given priorities that is not zero
// (a run's, then its workflow's), and DefaultPriority if all are.
func EffectivePriority(priorities ...int32) int32 {
	for _, p := range priorities {
		if p != 0 {
			return p
		}
	}
	return DefaultPriority
}

// EffectivePriority is the priority of runs that are started without one.
func (d *WorkflowDefinition) EffectivePriority() int32 { return EffectivePriority(d.GetPriority()) }

// StepNamed returns the step with the name, nil if there is none.
func (d *WorkflowDefinition) StepNamed(name string) *StepDefinition {
	for _, s := range d.GetSteps() {
		if s.GetName() == name {
			return s
		}
	}
	return nil
}

// StepNames returns the names of all steps in the order of declaration.
func (d *WorkflowDefinition) StepNames() []string {
	names := make([]string, 0, len(d.GetSteps()))
	for _, s := range d.GetSteps() {
		names = append(names, s.GetName())
	}
	return names
}

// IsEndStep says that the step is executed once the outcome of a run is decided.
func (s *StepDefinition) IsEndStep() bool { return len(s.GetOnEnd()) > 0 }

// IsRoot says that the step is ready as soon as the run begins.
func (s *StepDefinition) IsRoot() bool { return len(s.GetParents()) == 0 && !s.IsEndStep() }

// EndStep returns the end step of the workflow; nil if it has none.
func (d *WorkflowDefinition) EndStep() *StepDefinition {
	for _, s := range d.GetSteps() {
		if s.IsEndStep() {
			return s
		}
	}
	return nil
}

// Terminals returns the steps that are nobody's parents, in the order of
// declaration, without the end step. The output of the only one is what the workflow returns.
func (d *WorkflowDefinition) Terminals() []*StepDefinition {
	parents := make(map[string]bool, len(d.GetSteps()))
	for _, s := range d.GetSteps() {
		for _, p := range s.GetParents() {
			parents[p] = true
		}
	}
	var out []*StepDefinition
	for _, s := range d.GetSteps() {
		if !parents[s.GetName()] && !s.IsEndStep() {
			out = append(out, s)
		}
	}
	return out
}

// LabelsOfStep returns the workflow's label rules and the step's own: what
// counts when the step is placed on its own.
func (d *WorkflowDefinition) LabelsOfStep(s *StepDefinition) []*LabelRule {
	return slices.Concat(d.GetLabels(), s.GetLabels())
}

// LabelsOfRun returns the union of the label rules of the workflow and of all
// its steps, each once: what counts when a sticky run is bound.
func (d *WorkflowDefinition) LabelsOfRun() []*LabelRule {
	union := slices.Clone(d.GetLabels())
	for _, s := range d.GetSteps() {
		for _, rule := range s.GetLabels() {
			if !slices.ContainsFunc(union, func(have *LabelRule) bool { return proto.Equal(have, rule) }) {
				union = append(union, rule)
			}
		}
	}
	return union
}

// ScheduleTimeout is the time from ready to started after which the step fails
// SCHEDULE_TIMEOUT, by default DefaultScheduleTimeout, of an end step
// DefaultEndScheduleTimeout; false means never.
func (s *StepDefinition) ScheduleTimeout() (time.Duration, bool) {
	switch {
	case s.GetScheduleTimeoutMs() == TimeoutNeverMs:
		return 0, false
	case s.IsEndStep():
		return millisOr(s.GetScheduleTimeoutMs(), DefaultEndScheduleTimeout), true
	}
	return millisOr(s.GetScheduleTimeoutMs(), DefaultScheduleTimeout), true
}

// ExecutionTimeout is the time from started to ended after which an attempt
// fails EXECUTION_TIMEOUT, by default DefaultExecutionTimeout, of an end step
// DefaultEndExecutionTimeout; false means never.
func (s *StepDefinition) ExecutionTimeout() (time.Duration, bool) {
	switch {
	case s.GetExecutionTimeoutMs() == TimeoutNeverMs:
		return 0, false
	case s.IsEndStep():
		return millisOr(s.GetExecutionTimeoutMs(), DefaultEndExecutionTimeout), true
	}
	return millisOr(s.GetExecutionTimeoutMs(), DefaultExecutionTimeout), true
}

// Backoff is the wait after the n-th charged failure of the step, counted from
// 1: the first back-off, doubled for each failure before, up to the maximum.
// A first back-off above the default maximum raises the maximum to itself.
func (s *StepDefinition) Backoff(n int) time.Duration {
	first := millisOr(s.GetBackoffMs(), DefaultBackoff)
	most := max(millisOr(s.GetBackoffMaxMs(), DefaultBackoffMax), 0)
	if s.GetBackoffMaxMs() == 0 {
		most = max(most, first)
	}
	wait := min(first, most)
	for range n - 1 {
		if wait >= most || wait <= 0 {
			break
		}
		wait = min(wait*2, most)
	}
	return wait
}

// LossesMax is the number of losses of its worker after which the step fails
// WORKER_LOST, by default DefaultLostAttemptsMax.
func (s *StepDefinition) LossesMax() int {
	if n := s.GetLostAttemptsMax(); n > 0 {
		return int(n)
	}
	return DefaultLostAttemptsMax
}

// MatchesEvent says whether an event key of a workflow ("user:create", or
// "user:*" for a prefix) matches the key of a pushed event.
func MatchesEvent(pattern, key string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(key, prefix)
	}
	return pattern == key
}

// millisOr turns milliseconds into a duration; the default for zero, and the
// longest duration for what does not fit.
func millisOr(ms int64, whenZero time.Duration) time.Duration {
	switch {
	case ms == 0:
		return whenZero
	case ms > math.MaxInt64/int64(time.Millisecond):
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}
