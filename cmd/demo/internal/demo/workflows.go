package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/sdk"
)

// Job is the input of every run.
type Job struct {
	Corpus Corpus `json:"corpus"`
	// PaceMs is how long somebody thinks about an answer before the next
	// question, in milliseconds.
	PaceMs int `json:"pace_ms"`
}

// questions that the steps ask, one group a step.
var questions = [][]string{
	{"goroutine", "Mutex Lock", "context Context"},
	{"unsafe Pointer", "TODO", "deadlock"},
	{"error nil", "panic recover", "EOF"},
	{"interface", "Reader Writer", "atomic"},
	{"func defer", "deprecated", "Unicode"},
	{"cache", "chan select", "sort"},
	{"overflow", "Close error", "hash"},
	{"Gopher", "linux", "must never"},
}

// Names of the steps.
const (
	stepIndex    = "index"
	stepReport   = "report"
	stepDelegate = "delegate"
	stepRank     = "rank"
	stepSummary  = "summary"
)

func stepAsk(i int) string { return fmt.Sprintf("ask-%d", i+1) }

// Indexed, Answered, Reported and Ranked are what the steps return. Execution
// names the call that returned it in the ledger.
type (
	Indexed struct {
		Execution string `json:"execution"`
		Files     int    `json:"files"`
		Words     int    `json:"words"`
		Bytes     int64  `json:"bytes"`
	}
	Answered struct {
		Execution string   `json:"execution"`
		Answers   []Answer `json:"answers"`
	}
	Reported struct {
		Execution string   `json:"execution"`
		Files     int      `json:"files"`
		Answers   []Answer `json:"answers"`
		Top       []string `json:"top,omitempty"`
	}
	Ranked struct {
		Execution string   `json:"execution"`
		Top       []string `json:"top"`
	}
)

// Set is the workflows of the demo.
type Set struct {
	soft, hard, parent, child *sdk.Workflow[Job]
	// summary is the last step of the child.
	summary *sdk.Step[Job, Ranked]
}

// Workflows makes the workflows of a worker process.
func Workflows(l *ledger.Writer) []sdk.AnyWorkflow {
	s := newSet(&process{ledger: l})
	return []sdk.AnyWorkflow{s.soft, s.hard, s.parent, s.child}
}

// newSet makes the workflows; a process of nil serves to start runs only.
func newSet(p *process) *Set {
	s := &Set{}
	s.child, s.summary = p.childWorkflow()
	s.soft = p.askWorkflow("index-and-ask", sdk.Soft, nil)
	s.hard = p.askWorkflow("index-and-ask-hard", sdk.Hard, nil)
	s.parent = p.askWorkflow("index-and-delegate", sdk.Soft, s)
	return s
}

// process is a worker process: its memory and its ledger.
type process struct {
	ledger *ledger.Writer
	shelf  shelf
}

// askWorkflow indexes, asks, and reports; with a set it also spawns a sticky
// child half-way.
func (p *process) askWorkflow(name string, sticky sdk.Sticky, set *Set) *sdk.Workflow[Job] {
	// Never: so that a run moves for the loss of its worker and nothing else.
	w := sdk.NewWorkflow[Job](name, sdk.WorkflowConfig{Sticky: sticky, BusyPatience: sdk.Never})
	index := sdk.AddStep(w, stepIndex, recorded(p, p.index))
	var asks []*sdk.Step[Job, Answered]
	parents := sdk.Steps(index)
	last := sdk.AnyStep(index)
	var delegate *sdk.Step[Job, Ranked]
	for i := range questions {
		ask := sdk.AddStep(w, stepAsk(i), recorded(p, p.ask(questions[i])), sdk.StepConfig{Parents: sdk.Steps(last)})
		asks, parents, last = append(asks, ask), append(parents, ask), ask
		if set != nil && i == len(questions)/2-1 {
			delegate = sdk.AddStep(w, stepDelegate, recorded(p, p.delegate(set)), sdk.StepConfig{Parents: sdk.Steps(last)})
			parents, last = append(parents, delegate), delegate
		}
	}
	sdk.AddStep(w, stepReport, recorded(p, func(c *call, in Job) (Reported, error) {
		indexed, err := index.Output(c)
		if err != nil {
			return Reported{}, err
		}
		r := Reported{Execution: c.execution, Files: indexed.Files}
		for _, ask := range asks {
			answered, err := ask.Output(c)
			if err != nil {
				return Reported{}, err
			}
			r.Answers = append(r.Answers, answered.Answers...)
		}
		if delegate != nil {
			ranked, err := delegate.Output(c)
			if err != nil {
				return Reported{}, err
			}
			r.Top = ranked.Top
		}
		p.shelf.drop(c.RunID())
		return r, nil
	}), sdk.StepConfig{Parents: parents})
	return w
}

// childWorkflow ranks the words of its parent's index, on the worker that has
// it in memory.
func (p *process) childWorkflow() (*sdk.Workflow[Job], *sdk.Step[Job, Ranked]) {
	w := sdk.NewWorkflow[Job]("rank-words", sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.Never})
	rank := sdk.AddStep(w, stepRank, recorded(p, func(c *call, in Job) (Ranked, error) {
		x, err := p.held(c, c.ParentRun(), in)
		if err != nil {
			return Ranked{}, err
		}
		return Ranked{Execution: c.execution, Top: x.Top(5)}, think(c, in)
	}))
	summary := sdk.AddStep(w, stepSummary, recorded(p, func(c *call, in Job) (Ranked, error) {
		ranked, err := rank.Output(c)
		ranked.Execution = c.execution
		return ranked, err
	}), sdk.StepConfig{Parents: sdk.Steps(rank)})
	return w, summary
}

func (p *process) index(c *call, in Job) (Indexed, error) {
	x, err := p.build(c, c.RunID(), in)
	if err != nil {
		return Indexed{}, err
	}
	return Indexed{Execution: c.execution, Files: x.Files, Words: x.Words, Bytes: x.Bytes}, nil
}

func (p *process) ask(questions []string) func(*call, Job) (Answered, error) {
	return func(c *call, in Job) (Answered, error) {
		x, err := p.held(c, c.RunID(), in)
		if err != nil {
			return Answered{}, err
		}
		a := Answered{Execution: c.execution}
		for _, q := range questions {
			a.Answers = append(a.Answers, x.Answer(q))
		}
		return a, think(c, in)
	}
}

func (p *process) delegate(set *Set) func(*call, Job) (Ranked, error) {
	return func(c *call, in Job) (Ranked, error) {
		child, err := set.child.Spawn(c, in, &sdk.SpawnOptions{Sticky: true})
		if err != nil {
			return Ranked{}, err
		}
		c.note(noteSpawned + "=" + child.ID())
		ranked, err := set.summary.Result(c, child)
		ranked.Execution = c.execution
		return ranked, err
	}
}

// held returns the index that an earlier step left in memory, or builds it
// anew if this process does not have it.
func (p *process) held(c *call, owner string, in Job) (*Index, error) {
	if x := p.shelf.get(owner); x != nil {
		return x, nil
	}
	return p.build(c, owner, in)
}

func (p *process) build(c *call, owner string, in Job) (*Index, error) {
	told := "not-told"
	if c.Binding().StateNew {
		told = "told"
	}
	c.note(noteBuilt + "=" + told)
	x, err := BuildIndex(c, in.Corpus)
	if err != nil {
		return nil, err
	}
	p.shelf.put(owner, x)
	return x, nil
}

// Words of notes in the ledger.
const (
	// noteBuilt says that the step found no index and built one; its value,
	// told or not-told, whether the engine had said that local state is new.
	noteBuilt = "built"
	// noteSpawned gives the child.
	noteSpawned = "spawned"
)

// think is the pause between an answer and the next question.
func think(ctx context.Context, in Job) error {
	return backoff.Sleep(ctx, time.Duration(in.PaceMs)*time.Millisecond)
}

// call is the context of one execution.
type call struct {
	sdk.Context
	// execution is its name in the ledger.
	execution string
	notes     []string
}

func (c *call) note(n string) { c.notes = append(c.notes, n) }

// recorded makes a step function that records its executions.
func recorded[Out any](p *process, f func(*call, Job) (Out, error)) func(sdk.Context, Job) (Out, error) {
	return func(ctx sdk.Context, in Job) (Out, error) {
		n := p.ledger.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
		c := &call{Context: ctx, execution: p.ledger.ID(n)}
		out, err := f(c, in)
		p.ledger.End(n, err != nil, strings.Join(c.notes, " "))
		return out, err
	}
}
