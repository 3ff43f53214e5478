package sdk_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

type nothing = struct{}

func noop[In any](sdk.Context, In) (nothing, error) { return nothing{}, nil }

func TestDefinitionCarriesTheConfig(t *testing.T) {
	w := sdk.NewWorkflow[string]("index", sdk.WorkflowConfig{
		Sticky: sdk.Hard, OnEvents: []string{"corpus:*"}, BusyPatience: sdk.AtOnce, KeepFor: sdk.NotAtAll, Priority: sdk.High, Pool: "gpu",
		Labels:          []sdk.Label{sdk.Require("gpu").Equal("a100")},
		ScheduleTimeout: sdk.Never, ExecutionTimeout: 90 * time.Second,
	})
	load := sdk.AddStep(w, "load", noop[string])
	ask := sdk.AddStep(w, "ask", noop[string], sdk.StepConfig{
		Parents: sdk.Steps(load), Retries: 3, Backoff: 1500 * time.Microsecond, BackoffMax: time.Second,
		ScheduleTimeout: time.Minute, LostAttemptsMax: 2,
		Labels: []sdk.Label{sdk.Prefer("zone", 10).Equal("eu"), sdk.Require("mem").AtLeast(64)},
	})
	d, err := w.Definition()
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "index" || d.Sticky != sdk.Hard || d.OnEvents[0] != "corpus:*" || d.BusyPatienceMs != messages.BusyPatienceAtOnceMs || d.KeepForMs != messages.KeepNotAtAllMs ||
		d.Priority != 1 || d.Pool != "gpu" || d.InputSchema != `{"type":"string"}` || d.Labels[0].Key != "gpu" || !d.Labels[0].Required {
		t.Errorf("workflow: %v", d)
	}
	first, second := d.Steps[0], d.Steps[1]
	if first.Name != load.Name() || first.ScheduleTimeoutMs != -1 || first.ExecutionTimeoutMs != 90_000 {
		t.Errorf("first step: %v", first)
	}
	if second.Name != ask.Name() || second.Parents[0] != "load" || second.Retries != 3 || second.BackoffMs != 2 || second.BackoffMaxMs != 1000 ||
		second.ScheduleTimeoutMs != 60_000 || second.ExecutionTimeoutMs != 90_000 || second.LostAttemptsMax != 2 {
		t.Errorf("second step: %v", second)
	}
	if l := second.Labels[0]; l.Required || l.Weight != 10 || l.Value != "eu" {
		t.Errorf("preferred label: %v", l)
	}
	if l := second.Labels[1]; l.Op != messages.LabelRule_GREATER_OR_EQUAL || l.Value != "64" || !l.Required {
		t.Errorf("required label: %v", l)
	}
	again, _ := w.Definition()
	if messages.HashDefinition(d) != messages.HashDefinition(again) {
		t.Error("the same workflow has two hashes")
	}
	if len(parts.Functions(w)) != 2 {
		t.Errorf("functions: %v", parts.Functions(w))
	}
}

func TestValidateReportsEveryMistakeAtOnce(t *testing.T) {
	type bad struct{ C chan int }
	other := sdk.NewWorkflow[bad]("other")
	foreign := sdk.AddStep(other, "foreign", noop[bad])

	w := sdk.NewWorkflow[bad]("no spaces", sdk.WorkflowConfig{BusyPatience: -time.Second, KeepFor: -time.Second}, sdk.WorkflowConfig{})
	sdk.AddStep[bad, nothing](w, "a", nil)
	sdk.AddStep(w, "a", func(sdk.Context, bad) (func(), error) { return nil, nil })
	var none *sdk.Step[bad, nothing]
	sdk.AddStep(w, "b", noop[bad], sdk.StepConfig{
		Parents: sdk.Steps(foreign, none, nil), Retries: -1, ScheduleTimeout: sdk.AtOnce, Labels: []sdk.Label{{}, sdk.Prefer("x", 0).Equal("y")},
	}, sdk.StepConfig{})

	err := w.Validate()
	if !errors.Is(err, sdk.ErrInvalidDefinition) {
		t.Fatal(err)
	}
	for _, want := range []string{
		`workflow name "no spaces"`, "keep for -1000 ms", "busy patience -1000 ms", "2 configs are given", "it.C is a chan int, which JSON cannot hold",
		`step "a": the function is nil`, `step "a": declared more than once`, `step "a": output type func(): it is a func()`,
		`step "b": parent "foreign" is a step of workflow "other"`, `step "b": a parent is nil`, `step "b": retries is -1`,
		`step "b": schedule timeout ms is -2`, `step "b": 2 configs are given`, `step "b": label key is empty`, "weight 0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Count(err.Error(), "a parent is nil") != 2 {
		t.Error("a nil step and a nil interface are not two mistakes")
	}
	if t.Failed() {
		t.Log(strings.ReplaceAll(err.Error(), "; ", ";\n"))
	}
}

func TestWorkflowsThatWereNotMadeDoNotPanic(t *testing.T) {
	var missing *sdk.Workflow[int]
	for name, w := range map[string]*sdk.Workflow[int]{"nil": missing, "zero": {}} {
		sdk.AddStep(w, "a", noop[int])
		if err := w.Validate(); err == nil || !strings.Contains(err.Error(), "was not made by NewWorkflow") {
			t.Errorf("%s: %v", name, err)
		}
		if w.Name() != "" || len(parts.Functions(w)) != 0 {
			t.Errorf("%s: has a name or functions", name)
		}
	}
}

type celsius float64

func (c celsius) MarshalText() ([]byte, error) { return []byte("1C"), nil }
func (c *celsius) UnmarshalText([]byte) error  { return nil }

type quoted struct {
	N int64 `json:"n,string"`
}

type node struct {
	Value    int     `json:"value"`
	Children []*node `json:"children,omitempty"`
}

type base struct {
	ID string `json:"id"`
}

type everything struct {
	base
	Count   int               `json:"count"`
	Bytes   []byte            `json:"bytes"`
	Raw     json.RawMessage   `json:"raw"`
	Any     any               `json:"any"`
	Tags    map[string]string `json:"tags"`
	List    []float64         `json:"list"`
	Pair    [2]int            `json:"pair"`
	Time    time.Time         `json:"time"`
	When    *time.Time        `json:"when"`
	Wait    time.Duration     `json:"wait"`
	Big     *big.Int          `json:"big"`
	Number  json.Number       `json:"number"`
	Temp    celsius           `json:"temp"`
	Tree    node              `json:"tree"`
	Next    *node             `json:"next"`
	Hidden  func()            `json:"-"`
	private chan int
}

// What a Go client sends must pass the schema that was inferred for it, zero
// values included.
func TestInferredSchemaAcceptsWhatGoEncodes(t *testing.T) {
	accepts(t, everything{})
	accepts(t, everything{
		base: base{ID: "x"}, Bytes: []byte("abc"), Raw: json.RawMessage(`{"a":[1]}`), Any: 3, Tags: map[string]string{"a": "b"},
		List: []float64{1.5}, Big: big.NewInt(7), Number: "12", Tree: node{1, []*node{{2, nil}}}, private: nil,
	})
	accepts(t, &everything{})
	accepts(t, (*everything)(nil))
	accepts(t, map[int]string{1: "a"})
	accepts(t, map[string][]int(nil))
	accepts(t, []nothing{{}})
	accepts(t, nothing{})
	accepts(t, (any)(nil))
	accepts(t, json.RawMessage(`[1]`))
	accepts(t, time.Now())
	accepts(t, node{1, []*node{{2, nil}}})
	accepts(t, uint8(3))
	accepts(t, quoted{3})
	accepts(t, struct{ Q *quoted }{&quoted{3}})
	accepts(t, struct{ time.Time }{})
}

func accepts[In any](t *testing.T, in In) {
	t.Helper()
	schema := schemaOf[In](t)
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Check(data); err != nil {
		t.Errorf("%T: %s: %v", in, data, err)
	}
}

func schemaOf[In any](t *testing.T) *messages.InputSchema {
	t.Helper()
	w := sdk.NewWorkflow[In]("w")
	sdk.AddStep(w, "s", noop[In])
	d, err := w.Definition()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := messages.CompileInputSchema(d.InputSchema)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestInferredSchemaRefusesWrongInput(t *testing.T) {
	type order struct {
		ID    string            `json:"id"`
		Count int               `json:"count,omitempty"`
		Tags  map[string]string `json:"tags"`
		Items []struct {
			Price float64 `json:"price"`
		} `json:"items"`
		At *time.Time `json:"at"`
	}
	schema := schemaOf[order](t)
	for input, ok := range map[string]bool{
		`{"id":"a"}`:                             true,
		`{"id":"a","new_field":1}`:               true,
		`{"id":"a","tags":null}`:                 true,
		`{"id":"a","items":[{"price":1}]}`:       true,
		`{}`:                                     false,
		`{"idd":"a"}`:                            false,
		`{"id":3}`:                               false,
		`{"id":"a","count":"3"}`:                 false,
		`{"id":"a","count":1.5}`:                 false,
		`{"id":"a","tags":{"x":1}}`:              false,
		`{"id":"a","items":[{"price":"cheap"}]}`: false,
		`[]`:                                     false,
		`null`:                                   false,
		`"a"`:                                    false,
	} {
		if err := schema.Check([]byte(input)); (err == nil) != ok {
			t.Errorf("%s: %v", input, err)
		}
	}
}

func TestInputSchemaCanBeGiven(t *testing.T) {
	w := sdk.NewWorkflow[int]("w", sdk.WorkflowConfig{InputSchema: sdk.AnyJSON})
	sdk.AddStep(w, "s", noop[int])
	d, err := w.Definition()
	if err != nil || d.InputSchema != "true" {
		t.Fatal(d, err)
	}
	broken := sdk.NewWorkflow[int]("w", sdk.WorkflowConfig{InputSchema: "{"})
	sdk.AddStep(broken, "s", noop[int])
	if err := broken.Validate(); err == nil || !strings.Contains(err.Error(), "input schema is not a JSON Schema") {
		t.Error(err)
	}
}
