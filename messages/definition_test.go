package messages

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

func chain(names ...string) *WorkflowDefinition {
	d := &WorkflowDefinition{Name: "w"}
	for i, name := range names {
		s := &StepDefinition{Name: name}
		if i > 0 {
			s.Parents = []string{names[i-1]}
		}
		d.Steps = append(d.Steps, s)
	}
	return d
}

func TestValidateDefinitionReportsEveryFaultAtOnce(t *testing.T) {
	d := &WorkflowDefinition{
		Name: "bad name", Sticky: 7, BusyPatienceMs: -3, KeepForMs: -3, Priority: 4, Pool: "p q",
		OnEvents:    []string{"user:*", "user:*", "a*b", "*", "x y"},
		InputSchema: `{"type": 3}`,
		Labels: []*LabelRule{
			{Key: "", Value: "x", Required: true},
			{Key: "mem", Op: LabelRule_GREATER, Value: "much", Required: true},
			{Key: "zone", Value: "eu", Weight: 0},
			{Key: "zone", Value: "eu", Required: true, Weight: 3},
			{Key: "zone", Op: 17, Required: true},
			{Key: "mem", Op: LabelRule_LESS, Value: "NaN", Required: true},
		},
		Steps: []*StepDefinition{
			{Name: "a", Parents: []string{"c", "nobody", "c"}, Retries: -1, BackoffMs: -1, ScheduleTimeoutMs: -2},
			{Name: "b", Parents: []string{"a"}, ExecutionTimeoutMs: math.MaxInt64, LostAttemptsMax: -5},
			{Name: "c", Parents: []string{"b"}, BackoffMs: 10, BackoffMaxMs: 5},
			{Name: "c"},
			{Name: ""},
			{Name: "self", Parents: []string{"self"}},
		},
	}
	err := ValidateDefinition(d)
	if !errors.Is(err, &Error{Code: CodeInvalidDefinition}) {
		t.Fatal(err)
	}
	for _, want := range []string{
		`workflow "bad name":`, `workflow name "bad name": character ' '`, "sticky 7", "busy patience -3 ms", "keep for -3 ms: must be 0 (default) to", "priority 4",
		`pool name "p q"`, `event key "user:*": named more than once`, `event key "a*b": character '*'`, `event key "x y"`,
		"input schema", "workflow: label key is empty", `"much" is not a number`, "weight 0: must be 1 to 1000",
		"a required rule has no weight", "comparison 17 is not known", `"NaN" is not a number`,
		`step "a": parent "c" is named more than once`, `step "a": parent "nobody" is not a step`, `step "a": retries is -1`,
		`step "a": backoff ms is -1`, `step "a": schedule timeout ms is -2, must be -1 to`,
		`step "b": execution timeout ms is 9223372036854775807`, `step "b": lost attempts max is -5`,
		`step "c": backoff of 10 ms is above its maximum of 5 ms`, `step "c": declared more than once`, "step name is empty",
		"steps form a cycle: a -> b -> c -> a", "steps form a cycle: self -> self",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(strings.ReplaceAll(err.Error(), "; ", ";\n"))
	}
}

func TestValidateDefinitionAccepts(t *testing.T) {
	d := chain("load", "ask", "report")
	d.OnEvents = []string{"*", "user:create", "corpus:*"}
	d.BusyPatienceMs = BusyPatienceAtOnceMs
	d.KeepForMs = KeepNotAtAllMs
	d.InputSchema = `{"type":"object"}`
	d.Labels = []*LabelRule{{Key: "gpu", Value: "a100", Required: true}, {Key: "mem", Op: LabelRule_LESS, Value: "1e3", Weight: 1}}
	d.Steps[0].ScheduleTimeoutMs, d.Steps[0].ExecutionTimeoutMs = TimeoutNeverMs, TimeoutNeverMs
	d.Steps[2].Parents = []string{"load", "ask"}
	if err := ValidateDefinition(d); err != nil {
		t.Error(err)
	}
}

func TestValidateDefinitionLimits(t *testing.T) {
	names := make([]string, StepsMax+1)
	for i := range names {
		names[i] = "s" + strings.Repeat("x", i/100) + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + strings.Repeat("y", i%7)
	}
	for _, tc := range []struct {
		want string
		d    *WorkflowDefinition
	}{
		{"the definition is missing", nil},
		{"no steps", &WorkflowDefinition{Name: "w"}},
		{"1001 steps: at most 1000 (StepsMax)", chain(names...)},
		{"at most 100 (OnEventsMax)", &WorkflowDefinition{Name: "w", OnEvents: make([]string, 101)}},
		{"(DefinitionBytesMax)", &WorkflowDefinition{Name: "w", InputSchema: `{"title":"` + strings.Repeat("x", DefinitionBytesMax) + `"}`}},
		{"NameBytesMax", chain(strings.Repeat("x", NameBytesMax+1))},
	} {
		if err := ValidateDefinition(tc.d); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %.300v, want %q", err, tc.want)
		}
	}
}

func TestHashDefinition(t *testing.T) {
	a, b := chain("a", "b"), chain("a", "b")
	if HashDefinition(a) != HashDefinition(b) || len(HashDefinition(a)) != 32 {
		t.Errorf("hashes %q and %q", HashDefinition(a), HashDefinition(b))
	}
	b.Steps[1].Retries = 1
	if HashDefinition(a) == HashDefinition(b) {
		t.Error("another definition has the same hash")
	}
	if HashDefinition(proto.CloneOf(b)) != HashDefinition(b) {
		t.Error("a copy has another hash")
	}
}

func TestDefaults(t *testing.T) {
	d, s := &WorkflowDefinition{}, &StepDefinition{}
	if wait, p := d.BusyPatience(); wait != 30*time.Second || p != PatienceFor {
		t.Error(wait, p)
	}
	d.BusyPatienceMs = BusyPatienceNeverMs
	if _, p := d.BusyPatience(); p != PatienceForever {
		t.Error(p)
	}
	d.BusyPatienceMs = BusyPatienceAtOnceMs
	if _, p := d.BusyPatience(); p != PatienceNone {
		t.Error(p)
	}
	if d.EffectivePool() != "default" || d.EffectivePriority() != 2 || EffectivePriority(0, 3) != 3 || s.LossesMax() != 5 {
		t.Error("defaults of pool, priority or losses")
	}
	if d, ok := s.ScheduleTimeout(); d != 24*time.Hour || !ok {
		t.Error(d, ok)
	}
	if d, ok := s.ExecutionTimeout(); d != time.Hour || !ok {
		t.Error(d, ok)
	}
	s.ScheduleTimeoutMs, s.ExecutionTimeoutMs = TimeoutNeverMs, 1500
	if _, ok := s.ScheduleTimeout(); ok {
		t.Error("never passes")
	}
	if d, ok := s.ExecutionTimeout(); d != 1500*time.Millisecond || !ok {
		t.Error(d, ok)
	}
}

func TestBackoff(t *testing.T) {
	for _, tc := range []struct {
		first, most int64
		want        []time.Duration
	}{
		{0, 0, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}},
		{10, 35, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 35 * time.Millisecond, 35 * time.Millisecond}},
		{90_000, 0, []time.Duration{90 * time.Second, 90 * time.Second}},
		{0, 500, []time.Duration{500 * time.Millisecond, 500 * time.Millisecond}},
	} {
		s := &StepDefinition{BackoffMs: tc.first, BackoffMaxMs: tc.most}
		for i, want := range tc.want {
			if got := s.Backoff(i + 1); got != want {
				t.Errorf("backoff %d/%d after failure %d: %v, want %v", tc.first, tc.most, i+1, got, want)
			}
		}
		if got := s.Backoff(100_000_000); got != tc.want[len(tc.want)-1] && tc.first != 0 {
			t.Errorf("backoff after many failures: %v", got)
		}
	}
}

func TestMatchesEvent(t *testing.T) {
	for _, tc := range []struct {
		pattern, key string
		want         bool
	}{
		{"user:create", "user:create", true},
		{"user:create", "user:created", false},
		{"user:*", "user:create", true},
		{"user:*", "user:", true},
		{"user:*", "users", false},
		{"*", "whatever", true},
	} {
		if got := MatchesEvent(tc.pattern, tc.key); got != tc.want {
			t.Errorf("MatchesEvent(%q, %q) = %v", tc.pattern, tc.key, got)
		}
	}
}

func TestLabelsAndTerminals(t *testing.T) {
	gpu := &LabelRule{Key: "gpu", Value: "a100", Required: true}
	big := &LabelRule{Key: "mem", Op: LabelRule_GREATER, Value: "64", Required: true}
	d := chain("a", "b", "c")
	d.Steps[2].Parents = []string{"a"}
	d.Labels = []*LabelRule{gpu}
	d.Steps[1].Labels = []*LabelRule{big, proto.CloneOf(gpu)}
	d.Steps[2].Labels = []*LabelRule{proto.CloneOf(big)}
	if got := d.LabelsOfRun(); len(got) != 2 || !proto.Equal(got[0], gpu) || !proto.Equal(got[1], big) {
		t.Errorf("labels of the run: %v", got)
	}
	if got := d.LabelsOfStep(d.StepNamed("c")); len(got) != 2 {
		t.Errorf("labels of c: %v", got)
	}
	if len(d.Labels) != 1 {
		t.Error("the definition changed")
	}
	terminals := d.Terminals()
	if len(terminals) != 2 || terminals[0].Name != "b" || terminals[1].Name != "c" {
		t.Errorf("terminals: %v", terminals)
	}
	if got := d.StepNames(); !slices.Equal(got, []string{"a", "b", "c"}) || d.StepNamed("d") != nil {
		t.Errorf("steps: %v", got)
	}
}

func TestInputSchema(t *testing.T) {
	s, err := CompileInputSchema(`{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	open, err := CompileInputSchema("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		schema *InputSchema
		input  string
		code   Code
	}{
		{s, `{"n": 1, "more": true}`, ""},
		{s, `{"n": "1"}`, CodeInvalidInput},
		{s, `{}`, CodeInvalidInput},
		{s, ``, CodeInvalidInput},
		{s, `{"n": 1`, CodeInvalidInput},
		{open, ``, ""},
		{open, `[1]`, ""},
		{open, `nope`, CodeInvalidInput},
		{open, `"` + strings.Repeat("x", PayloadBytesMax) + `"`, CodePayloadTooLarge},
		{nil, `1`, ""},
	} {
		if err := tc.schema.Check([]byte(tc.input)); CodeOf(err) != tc.code {
			t.Errorf("input %.40q: %v, want %q", tc.input, err, tc.code)
		}
	}
	for _, bad := range []string{`{`, `3`, `{"type": "nonsense", "$ref": "http://example.com/x"}`} {
		if _, err := CompileInputSchema(bad); err == nil {
			t.Errorf("schema %s was accepted", bad)
		}
	}
}

func TestValidateLabelsAndPriority(t *testing.T) {
	if err := ValidateLabels(map[string]string{"gpu": "a100", "memory-gb": "64"}); err != nil {
		t.Error(err)
	}
	err := ValidateLabels(map[string]string{"a b": "x", "c": strings.Repeat("x", LabelValueBytesMax+1), "d": "\xff"})
	for _, want := range []string{`label key "a b"`, "(LabelValueBytesMax)", "is not UTF-8"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if validatePriority("priority", 0) != nil || validatePriority("priority", 3) != nil || validatePriority("priority", 4) == nil || validatePriority("priority", -1) == nil {
		t.Error("priorities")
	}
}

func TestValidateDefinitionOfLocalState(t *testing.T) {
	many := make([]*LocalDefinition, LocalsMax+1)
	for i := range many {
		many[i] = &LocalDefinition{Name: strings.Repeat("x", i+1)}
	}
	for _, tc := range []struct {
		want   string // empty for none
		sticky Sticky
		locals []*LocalDefinition
		step   *StepDefinition
	}{
		{"", Sticky_STICKY_SOFT, []*LocalDefinition{{Name: "a", Handoff: true}, {Name: "b", Shared: true}}, &StepDefinition{BuildsState: true, NeedsState: true}},
		{"", Sticky_STICKY_NONE, []*LocalDefinition{{Name: "b", Shared: true}}, &StepDefinition{}},
		{"33 locals: at most 32 (LocalsMax)", Sticky_STICKY_SOFT, many, &StepDefinition{}},
		{`local "a": declared more than once`, Sticky_STICKY_HARD, []*LocalDefinition{{Name: "a"}, {Name: "a", Shared: true}}, &StepDefinition{}},
		{"local name is empty", Sticky_STICKY_HARD, []*LocalDefinition{{}}, &StepDefinition{}},
		{`local "a": state of one run needs a sticky workflow`, Sticky_STICKY_NONE, []*LocalDefinition{{Name: "a"}}, &StepDefinition{}},
		{`local "a": shared local state cannot be handed off`, Sticky_STICKY_SOFT, []*LocalDefinition{{Name: "a", Shared: true, Handoff: true}}, &StepDefinition{}},
		{`step "s": builds state, which needs a sticky workflow`, Sticky_STICKY_NONE, nil, &StepDefinition{BuildsState: true}},
		{`step "s": needs state, which needs a sticky workflow`, Sticky_STICKY_NONE, nil, &StepDefinition{NeedsState: true}},
	} {
		tc.step.Name = "s"
		err := ValidateDefinition(&WorkflowDefinition{Name: "w", Sticky: tc.sticky, Locals: tc.locals, Steps: []*StepDefinition{tc.step}})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
}

func TestValidateEndSteps(t *testing.T) {
	end := func(on ...RunStatus) *StepDefinition { return &StepDefinition{Name: "end", OnEnd: on} }
	failed, succeeded := RunStatus_RUN_STATUS_FAILED, RunStatus_RUN_STATUS_SUCCEEDED
	for _, tc := range []struct {
		want  string // empty for none
		steps []*StepDefinition
	}{
		{"", []*StepDefinition{{Name: "s"}, end(failed, succeeded, RunStatus_RUN_STATUS_CANCELED)}},
		{`step "end": a workflow has another step beside its end step`, []*StepDefinition{end(failed)}},
		{"2 end steps (end, other): at most one", []*StepDefinition{{Name: "s"}, end(failed), {Name: "other", OnEnd: []RunStatus{failed}}}},
		{`step "s": parent "end": an end step has no parents, and is nobody's`, []*StepDefinition{{Name: "s", Parents: []string{"end"}}, end(failed)}},
		{`step "end": parent "s": an end step has no parents`, []*StepDefinition{{Name: "s"}, {Name: "end", OnEnd: []RunStatus{failed}, Parents: []string{"s"}}}},
		{`outcome RUN_STATUS_RUNNING: an end step is for SUCCEEDED, FAILED and CANCELED`, []*StepDefinition{{Name: "s"}, end(RunStatus_RUN_STATUS_RUNNING)}},
		{`outcome RUN_STATUS_FAILED is named more than once`, []*StepDefinition{{Name: "s"}, end(failed, failed)}},
		{`an end step neither builds state nor needs it`, []*StepDefinition{{Name: "s"}, {Name: "end", OnEnd: []RunStatus{failed}, NeedsState: true}}},
	} {
		d := &WorkflowDefinition{Name: "w", Sticky: Sticky_STICKY_SOFT, Steps: tc.steps}
		err := ValidateDefinition(d)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
		if last := d.Terminals(); tc.want == "" && (len(last) != 1 || last[0].GetName() != "s" || d.EndStep().GetName() != "end") {
			t.Errorf("last steps %v, end step %v", last, d.EndStep())
		}
	}
}

// A worker's workflows are bounded in number, and in bytes together: they travel in
// one message.
func TestWorkflowsOfAWorker(t *testing.T) {
	of := func(n, bytes int) []*WorkflowDefinition {
		list := make([]*WorkflowDefinition, n)
		for i := range list {
			list[i] = &WorkflowDefinition{InputSchema: string(make([]byte, bytes))}
		}
		return list
	}
	for _, c := range []struct {
		workflows []*WorkflowDefinition
		want      string
	}{
		{of(1, 10), ""}, {of(80, 200<<10), ""},
		{nil, "must be 1 to WorkflowsMax = 1000"}, {of(1001, 1), "must be 1 to WorkflowsMax = 1000"},
		{of(200, 200<<10), "at most WorkflowsBytesMax = 16777216"},
	} {
		err := CheckWorkflows(c.workflows)
		if c.want == "" && err != nil || c.want != "" && (CodeOf(err) != CodeInvalidArgument || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d workflows: %v", len(c.workflows), err)
		}
	}
}
