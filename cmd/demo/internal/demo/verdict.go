package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// promise is one line of the verdict.
type promise struct {
	text string
	// kept says what kept it, in numbers.
	kept string
	// broken lists every fault; none means that it was kept.
	broken []string
}

func (p *promise) fault(format string, args ...any) {
	p.broken = append(p.broken, fmt.Sprintf(format, args...))
}

// evidence is what the verdict is made from: the histories of the runs, and
// what the steps themselves recorded.
type evidence struct {
	runs   []*runView
	ledger []ledger.Execution
	// dead are the incarnations of workers whose processes were killed.
	dead map[string]bool
}

// of returns the executions of a run, in order.
func (e *evidence) of(run string) []ledger.Execution {
	var own []ledger.Execution
	for _, x := range e.ledger {
		if x.Run == run {
			own = append(own, x)
		}
	}
	return own
}

// run with the id; nil for one that is not of the demo.
func (e *evidence) run(id string) *runView {
	for _, v := range e.runs {
		if v.id == id {
			return v
		}
	}
	return nil
}

// judge checks every promise.
func (e *evidence) judge(ctx context.Context) []*promise {
	return []*promise{
		e.ended(), e.oneRecord(), e.executedAgain(), e.hardStays(), e.softMoves(), e.oneBinding(),
		e.childAtParent(), e.stateTold(), e.answersRight(ctx),
	}
}

func (e *evidence) ended() *promise {
	p := &promise{text: "every run ended, and succeeded", kept: fmt.Sprintf("%d runs", len(e.runs))}
	for _, v := range e.runs {
		switch {
		case !v.ended:
			p.fault("%s did not end", v.name)
		case v.status != messages.RunStatus_RUN_STATUS_SUCCEEDED:
			p.fault("%s %s: %s", v.name, statusName(v.status), v.failure.GetMessage())
		}
	}
	return p
}

// oneRecord: the history holds one result of each step, and it is what one
// execution of that very attempt returned.
func (e *evidence) oneRecord() *promise {
	p := &promise{text: "each result was recorded once, and is what one execution returned"}
	byID := make(map[string]ledger.Execution)
	for _, x := range e.ledger {
		byID[x.ID] = x
	}
	results := 0
	for _, v := range e.runs {
		if v.ended && len(v.results) != v.stepCount() {
			p.fault("%s has results of %d steps, not of %d", v.name, len(v.results), v.stepCount())
		}
		for step, recorded := range v.results {
			results++
			if len(recorded) != 1 {
				p.fault("%s %s has %d results", v.name, step, len(recorded))
			}
			var out struct{ Execution string }
			if err := json.Unmarshal(recorded[0].output, &out); err != nil {
				p.fault("%s %s: its result does not decode: %v", v.name, step, err)
				continue
			}
			x, ok := byID[out.Execution]
			if !ok || x.Run != v.id || x.Step != step || x.Attempt != recorded[0].attempt || x.End.IsZero() || x.Failed {
				p.fault("%s %s#%d: no execution in the ledger returned its result", v.name, step, recorded[0].attempt)
			}
		}
	}
	p.kept = fmt.Sprintf("%d results, %d executions", results, len(e.ledger))
	return p
}

// executedAgain: a step is executed a second time only if the process that
// executed it was killed.
func (e *evidence) executedAgain() *promise {
	p := &promise{text: "no step was executed again but for the loss of its worker"}
	again := 0
	for _, v := range e.runs {
		last := make(map[string]ledger.Execution)
		for _, x := range e.of(v.id) {
			before, ok := last[x.Step]
			last[x.Step] = x
			if !ok {
				continue
			}
			again++
			if x.Attempt == before.Attempt {
				p.fault("%s %s#%d was executed twice", v.name, x.Step, x.Attempt)
			}
			if !e.dead[before.Incarnation] {
				p.fault("%s %s was executed again after %s, which was not killed", v.name, x.Step, before.Worker)
			}
		}
	}
	p.kept = fmt.Sprintf("%d executed again", again)
	return p
}

func (e *evidence) hardStays() *promise {
	p := &promise{text: "HARD never ran on another worker"}
	for _, v := range e.runs {
		if v.sticky != sdk.Hard {
			continue
		}
		workers, processes := places(e.of(v.id))
		if len(workers) > 1 {
			p.fault("%s ran on %s", v.name, strings.Join(workers, " and on "))
		}
		if processes < 2 {
			p.fault("%s did not go on in a new process of its worker: nothing was shown", v.name)
		}
		p.kept = fmt.Sprintf("%s throughout, %d processes of it", strings.Join(workers, ", "), processes)
	}
	return p
}

// places returns the workers that executed something, in order, and the number
// of their processes.
func places(executions []ledger.Execution) (workers []string, processes int) {
	seen := make(map[string]bool)
	for _, x := range executions {
		if !slices.Contains(workers, x.Worker) {
			workers = append(workers, x.Worker)
		}
		if !seen[x.Incarnation] {
			seen[x.Incarnation] = true
			processes++
		}
	}
	return workers, processes
}

// softMoves: between two executions of a SOFT run on different workers lies
// the death of the first, and a binding with a reason.
func (e *evidence) softMoves() *promise {
	p := &promise{text: "SOFT moved only off a killed worker, once, with the reason recorded"}
	moved := 0
	for _, v := range e.runs {
		if v.sticky != sdk.Soft {
			continue
		}
		for i := 1; i < len(v.bindings); i++ {
			from, to := v.bindings[i-1], v.bindings[i]
			moved++
			if !e.dead[from.incarnation] {
				p.fault("%s moved from %s, which was not killed, to %s (%s)", v.name, from.worker, to.worker, to.reason)
			}
			if to.reason == "" {
				p.fault("%s moved from %s to %s, and no reason is recorded", v.name, from.worker, to.worker)
			}
			if to.epoch != from.epoch+1 {
				p.fault("%s moved from epoch %d to %d", v.name, from.epoch, to.epoch)
			}
		}
	}
	if moved == 0 {
		p.fault("no run moved: nothing was shown")
	}
	p.kept = fmt.Sprintf("%d moves", moved)
	return p
}

// oneBinding: each execution of a sticky run was on the worker, and in the
// process, that the run was bound to in the epoch of the execution.
func (e *evidence) oneBinding() *promise {
	p := &promise{text: "every execution was where its run was bound to at the time"}
	checked := 0
	for _, v := range e.runs {
		bound := make(map[uint64]binding)
		for _, b := range v.bindings {
			bound[b.epoch] = b
		}
		var epoch uint64
		for _, x := range e.of(v.id) {
			checked++
			b, ok := bound[x.Epoch]
			if !ok || b.worker != x.Worker || b.incarnation != x.Incarnation {
				p.fault("%s %s#%d ran on %s (process %d) in epoch %d, when the run was bound to %q", v.name, x.Step, x.Attempt, x.Worker, x.Process, x.Epoch, b.worker)
			}
			if x.Epoch < epoch {
				p.fault("%s %s#%d began in epoch %d after one of epoch %d", v.name, x.Step, x.Attempt, x.Epoch, epoch)
			}
			epoch = x.Epoch
		}
	}
	p.kept = fmt.Sprintf("%d executions", checked)
	return p
}

// childAtParent: the first binding of a sticky child is the worker that the
// spawning step ran on, and its steps ran there unless that was killed.
func (e *evidence) childAtParent() *promise {
	p := &promise{text: "the sticky child ran on its parent's worker"}
	children := 0
	for _, v := range e.runs {
		if v.parent == "" {
			continue
		}
		children++
		var spawner ledger.Execution
		for _, x := range e.of(v.parent) {
			if x.Step == stepDelegate && (spawner.ID == "" || len(e.of(v.id)) > 0 && !x.Begin.After(e.of(v.id)[0].Begin)) {
				spawner = x
			}
		}
		if len(v.bindings) == 0 || v.bindings[0].worker != spawner.Worker || v.bindings[0].incarnation != spawner.Incarnation {
			p.fault("%s was not bound to %s first", v.name, spawner.Worker)
		}
		for _, x := range e.of(v.id) {
			if x.Incarnation != spawner.Incarnation && !e.dead[spawner.Incarnation] {
				p.fault("%s %s ran on %s, its parent's %s on %s", v.name, x.Step, x.Worker, stepDelegate, spawner.Worker)
			}
		}
		p.kept = spawner.Worker
	}
	if children == 0 {
		p.fault("there was no child: nothing was shown")
	}
	return p
}

// stateTold: a step that found no index had been told that local state is new.
func (e *evidence) stateTold() *promise {
	p := &promise{text: "each step that had lost its index had been told so"}
	rebuilds := 0
	for _, v := range e.runs {
		for _, x := range e.of(v.id) {
			if x.Step == stepIndex || !built(x) {
				continue
			}
			rebuilds++
			if strings.Contains(x.Note, noteBuilt+"=not-told") {
				p.fault("%s %s#%d found no index on %s and had not been told", v.name, x.Step, x.Attempt, x.Worker)
			}
		}
	}
	p.kept = fmt.Sprintf("%d rebuilds", rebuilds)
	return p
}

func built(x ledger.Execution) bool { return strings.Contains(x.Note, noteBuilt+"=") }

// answersRight compares the answers from memory with a search of the files.
func (e *evidence) answersRight(ctx context.Context) *promise {
	p := &promise{text: "the answers from memory are right"}
	all := slices.Concat(questions...)
	answers := 0
	for _, v := range e.runs {
		reports := v.results[stepReport]
		if len(reports) == 0 {
			continue
		}
		var reported Reported
		if err := json.Unmarshal(reports[0].output, &reported); err != nil {
			p.fault("%s: its report does not decode: %v", v.name, err)
			continue
		}
		searched, err := v.corpus.Count(ctx, all)
		if err != nil {
			p.fault("%s: %v", v.name, err)
			continue
		}
		for i, want := range searched {
			if i >= len(reported.Answers) || reported.Answers[i] != want {
				p.fault("%s: the answer to %q is not %d hits in %d files", v.name, want.Question, want.Hits, want.Files)
				continue
			}
			answers++
		}
	}
	p.kept = fmt.Sprintf("%d answers compared with a search of the files", answers)
	return p
}
