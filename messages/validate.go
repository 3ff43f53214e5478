package messages

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// validatePriority checks the priority of a run: 1 (high) to 3 (low), or 0 for
// the workflow's. The error is INVALID_ARGUMENT.
func validatePriority(words string, p int32) error {
	if p < 0 || p > 3 {
		return Errorf(CodeInvalidArgument, "%s %d: must be 1 (high) to 3 (low), or 0 for the default", words, p)
	}
	return nil
}

// ValidateLabels checks the labels of a worker. The error is INVALID_ARGUMENT
// and names every fault.
func ValidateLabels(labels map[string]string) error {
	var f faults
	if len(labels) > LabelsMax {
		f.addf("%d labels: at most %d (LabelsMax)", len(labels), LabelsMax)
	}
	for key, value := range labels {
		f.add(nameFault("label key", key))
		f.add(labelValueFault(fmt.Sprintf("label %q", key), value))
	}
	return f.err(CodeInvalidArgument, "labels")
}

// CheckWorkflows returns INVALID_ARGUMENT unless a worker may have so many workflows,
// of so many bytes together.
func CheckWorkflows(workflows []*WorkflowDefinition) error {
	if n := len(workflows); n < 1 || n > WorkflowsMax {
		return Errorf(CodeInvalidArgument, "%d workflows: must be 1 to WorkflowsMax = %d", n, WorkflowsMax)
	}
	size := 0
	for _, d := range workflows {
		size += d.SizeVT()
	}
	if size > WorkflowsBytesMax {
		return Errorf(CodeInvalidArgument, "the definitions of %d workflows have %d bytes together: at most WorkflowsBytesMax = %d; let several workers serve them", len(workflows), size, WorkflowsBytesMax)
	}
	return nil
}

// ValidateDefinition reports every fault of a definition at once, in one
// INVALID_DEFINITION that wraps them joined; nil if there is none.
func ValidateDefinition(d *WorkflowDefinition) error {
	return InvalidDefinition(d.GetName(), DefinitionFaults(d)...)
}

// InvalidDefinition makes one INVALID_DEFINITION of all faults of a workflow,
// nil if there are none.
func InvalidDefinition(workflow string, found ...error) error {
	var f faults
	for _, fault := range found {
		f.add(fault)
	}
	return f.err(CodeInvalidDefinition, fmt.Sprintf("workflow %q", workflow))
}

// DefinitionFaults returns all that is wrong with a definition, each fault as
// an error without a code.
func DefinitionFaults(d *WorkflowDefinition) []error {
	if d == nil {
		return []error{errors.New("the definition is missing")}
	}
	var f faults
	f.add(nameFault("workflow name", d.GetName()))
	if _, ok := Sticky_name[int32(d.GetSticky())]; !ok {
		f.addf("sticky %d: must be NONE, SOFT or HARD", d.GetSticky())
	}
	if ms := d.GetBusyPatienceMs(); ms < BusyPatienceAtOnceMs || ms > DurationMsMax {
		f.addf("busy patience %d ms: must be 0 (default) to %d ms, %d (never) or %d (at once)", ms, DurationMsMax, BusyPatienceNeverMs, BusyPatienceAtOnceMs)
	}
	if ms := d.GetKeepForMs(); ms < KeepNotAtAllMs || ms > DurationMsMax {
		f.addf("keep for %d ms: must be 0 (default) to %d ms, %d (as long as it waits) or %d (not at all)", ms, DurationMsMax, KeepWhileWaitingMs, KeepNotAtAllMs)
	}
	if p := d.GetPriority(); p < 0 || p > 3 {
		f.addf("priority %d: must be 1 (high) to 3 (low), or 0 for the default", p)
	}
	if d.GetPool() != "" {
		f.add(nameFault("pool name", d.GetPool()))
	}
	f.labels("workflow", d.GetLabels())
	f.events(d.GetOnEvents())
	f.steps(d.GetSteps())
	f.locals(d)
	if _, err := CompileInputSchema(d.GetInputSchema()); err != nil {
		f.add(err)
	}
	if size := proto.Size(d); size > DefinitionBytesMax {
		f.addf("the definition has %d bytes: at most %d (DefinitionBytesMax)", size, DefinitionBytesMax)
	}
	return f
}

// faults gathers all that is wrong with a definition.
type faults []error

func (f *faults) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

func (f *faults) addf(format string, args ...any) { f.add(fmt.Errorf(format, args...)) }

// err makes one error of all, nil if there is none.
func (f faults) err(code Code, what string) error {
	if len(f) == 0 {
		return nil
	}
	texts := make([]string, len(f))
	for i, fault := range f {
		texts[i] = fault.Error()
	}
	return &Error{Code: code, Message: what + ": " + strings.Join(texts, "; "), cause: errors.Join(f...)}
}

func (f *faults) steps(steps []*StepDefinition) {
	switch {
	case len(steps) == 0:
		f.addf("no steps: a workflow has at least one")
	case len(steps) > StepsMax:
		f.addf("%d steps: at most %d (StepsMax)", len(steps), StepsMax)
		return
	}
	known := make(map[string]bool, len(steps))
	for _, s := range steps {
		if known[s.GetName()] {
			f.addf("step %q: declared more than once", s.GetName())
		}
		known[s.GetName()] = true
	}
	for _, s := range steps {
		f.step(s, known)
	}
	f.endSteps(steps)
	for _, cycle := range cycles(steps) {
		f.addf("steps form a cycle: %s", strings.Join(cycle, " -> "))
	}
}

func (f *faults) step(s *StepDefinition, known map[string]bool) {
	f.add(nameFault("step name", s.GetName()))
	what := fmt.Sprintf("step %q", s.GetName())
	seen := make(map[string]bool, len(s.GetParents()))
	for _, p := range s.GetParents() {
		switch {
		case seen[p]:
			f.addf("%s: parent %q is named more than once", what, p)
		case !known[p]:
			f.addf("%s: parent %q is not a step of the workflow", what, p)
		}
		seen[p] = true
	}
	f.between(what, "retries", int64(s.GetRetries()), 0, AttemptsMax)
	f.between(what, "lost attempts max", int64(s.GetLostAttemptsMax()), 0, AttemptsMax)
	f.between(what, "backoff ms", s.GetBackoffMs(), 0, DurationMsMax)
	f.between(what, "backoff max ms", s.GetBackoffMaxMs(), 0, DurationMsMax)
	if first, most := s.GetBackoffMs(), s.GetBackoffMaxMs(); most > 0 && first > most {
		f.addf("%s: backoff of %d ms is above its maximum of %d ms", what, first, most)
	}
	f.between(what, "schedule timeout ms", s.GetScheduleTimeoutMs(), TimeoutNeverMs, DurationMsMax)
	if s.GetHeartbeatMs() != 0 {
		f.between(what, "heartbeat ms", s.GetHeartbeatMs(), HeartbeatMsMin, DurationMsMax)
	}
	f.between(what, "execution timeout ms", s.GetExecutionTimeoutMs(), TimeoutNeverMs, DurationMsMax)
	f.labels(what, s.GetLabels())
}

// endSteps checks the end step: what it is for, and that it is on its own.
func (f *faults) endSteps(steps []*StepDefinition) {
	var ends []string
	for _, s := range steps {
		if s.IsEndStep() {
			ends = append(ends, s.GetName())
			f.endStep(s)
		}
	}
	for _, s := range steps {
		for _, p := range s.GetParents() {
			if slices.Contains(ends, p) || s.IsEndStep() {
				f.addf("step %q: parent %q: an end step has no parents, and is nobody's", s.GetName(), p)
			}
		}
	}
	switch {
	case len(ends) > 1:
		f.addf("%d end steps (%s): at most one", len(ends), strings.Join(ends, ", "))
	case len(ends) > 0 && len(steps) == 1:
		f.addf("step %q: a workflow has another step beside its end step", ends[0])
	}
}

func (f *faults) endStep(s *StepDefinition) {
	seen := map[RunStatus]bool{}
	for _, status := range s.GetOnEnd() {
		switch status {
		case RunStatus_RUN_STATUS_SUCCEEDED, RunStatus_RUN_STATUS_FAILED, RunStatus_RUN_STATUS_CANCELED:
		default:
			f.addf("step %q: outcome %v: an end step is for SUCCEEDED, FAILED and CANCELED", s.GetName(), status)
		}
		if seen[status] {
			f.addf("step %q: outcome %v is named more than once", s.GetName(), status)
		}
		seen[status] = true
	}
	if s.GetBuildsState() || s.GetNeedsState() {
		f.addf("step %q: an end step neither builds state nor needs it: it takes what is there", s.GetName())
	}
}

// locals checks local state: what is of one run, or of its binding, needs a
// binding.
func (f *faults) locals(d *WorkflowDefinition) {
	if len(d.GetLocals()) > LocalsMax {
		f.addf("%d locals: at most %d (LocalsMax)", len(d.GetLocals()), LocalsMax)
	}
	sticky := d.GetSticky() != Sticky_STICKY_NONE
	known := make(map[string]bool, len(d.GetLocals()))
	for _, l := range d.GetLocals() {
		f.add(nameFault("local name", l.GetName()))
		switch {
		case known[l.GetName()]:
			f.addf("local %q: declared more than once", l.GetName())
		case l.GetShared() && l.GetHandoff():
			f.addf("local %q: shared local state cannot be handed off", l.GetName())
		case !l.GetShared() && !sticky:
			f.addf("local %q: state of one run needs a sticky workflow, Soft or Hard; or give it a key to share it", l.GetName())
		}
		known[l.GetName()] = true
	}
	for _, s := range d.GetSteps() {
		if s.GetBuildsState() && !sticky {
			f.addf("step %q: builds state, which needs a sticky workflow, Soft or Hard", s.GetName())
		}
		if s.GetNeedsState() && !sticky {
			f.addf("step %q: needs state, which needs a sticky workflow, Soft or Hard", s.GetName())
		}
	}
}

func (f *faults) between(what, field string, value, least, most int64) {
	if value >= least && value <= most {
		return
	}
	never := ""
	if least == TimeoutNeverMs {
		never = fmt.Sprintf(" (%d: never)", TimeoutNeverMs)
	}
	f.addf("%s: %s is %d, must be %d to %d%s", what, field, value, least, most, never)
}

func (f *faults) events(keys []string) {
	if len(keys) > OnEventsMax {
		f.addf("%d event keys: at most %d (OnEventsMax)", len(keys), OnEventsMax)
	}
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[key] {
			f.addf("event key %q: named more than once", key)
			continue
		}
		seen[key] = true
		if prefix, ok := strings.CutSuffix(key, "*"); ok && prefix == "" {
			continue
		} else if err := nameFault("event key", prefix); err != nil {
			f.addf("%w; a \"*\" may stand at the end only", err)
		}
	}
}

func (f *faults) labels(what string, rules []*LabelRule) {
	if len(rules) > LabelRulesMax {
		f.addf("%s: %d label rules: at most %d (LabelRulesMax)", what, len(rules), LabelRulesMax)
	}
	for _, r := range rules {
		if err := nameFault("label key", r.GetKey()); err != nil {
			f.addf("%s: %w", what, err)
		}
		rule := fmt.Sprintf("%s: label rule on %q", what, r.GetKey())
		f.add(labelValueFault(rule, r.GetValue()))
		switch _, known := LabelRule_Op_name[int32(r.GetOp())]; {
		case !known:
			f.addf("%s: comparison %d is not known", rule, r.GetOp())
		case r.GetOp() >= LabelRule_LESS:
			if n, err := strconv.ParseFloat(r.GetValue(), 64); err != nil || math.IsNaN(n) {
				f.addf("%s: %q is not a number, which %s needs", rule, r.GetValue(), r.GetOp())
			}
		}
		switch w := r.GetWeight(); {
		case r.GetRequired() && w != 0:
			f.addf("%s: a required rule has no weight, not %d", rule, w)
		case !r.GetRequired() && (w < 1 || w > LabelWeightMax):
			f.addf("%s: weight %d: must be 1 to %d (LabelWeightMax)", rule, w, LabelWeightMax)
		}
	}
}

// cycles returns loops among the steps, each from a step by way of its
// children back to itself; one for each group of steps that wait for each
// other.
func cycles(steps []*StepDefinition) [][]string {
	parents := make(map[string][]string, len(steps))
	for _, s := range steps {
		parents[s.GetName()] = append(parents[s.GetName()], s.GetParents()...)
	}
	const (
		open   = 1
		closed = 2
	)
	var found [][]string
	state := make(map[string]int, len(steps))
	var path []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		path = append(path, name)
		for _, p := range parents[name] {
			switch state[p] {
			case 0:
				visit(p)
			case open:
				found = append(found, loop(path, p))
			}
		}
		path = path[:len(path)-1]
		state[name] = closed
	}
	for _, s := range steps {
		if state[s.GetName()] == 0 {
			visit(s.GetName())
		}
	}
	return found
}

// loop turns a path of steps, each the parent of the one before, into the
// cycle that its end closes at the named step, in the order of execution.
func loop(path []string, from string) []string {
	out := []string{from}
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == from {
			break
		}
		out = append(out, path[i])
	}
	// The path runs against execution: from is a parent of its last element.
	return append(out, from)
}

func labelValueFault(what, value string) error {
	switch {
	case len(value) > LabelValueBytesMax:
		return fmt.Errorf("%s: value of %d bytes: at most %d (LabelValueBytesMax)", what, len(value), LabelValueBytesMax)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s: value %q is not UTF-8", what, value)
	}
	return nil
}

// nameFault is CheckName without the code, which the whole report has.
func nameFault(what, name string) error {
	var e *Error
	if errors.As(CheckName(what, name), &e) {
		return errors.New(e.Message)
	}
	return nil
}
