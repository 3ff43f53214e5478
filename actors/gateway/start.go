package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// StartRun starts one run.
func (g *gateway) StartRun(ctx context.Context, req *connect.Request[api.StartRunRequest]) (*connect.Response[api.StartRunResponse], error) {
	runs, err := g.start(ctx, []*api.StartRunRequest{req.Msg}, "")
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(runs[0]), nil
}

// StartRuns starts many runs; all are checked before any is stored.
func (g *gateway) StartRuns(ctx context.Context, req *connect.Request[api.StartRunsRequest]) (*connect.Response[api.StartRunsResponse], error) {
	if n := len(req.Msg.GetRuns()); n > messages.BulkRunsMax {
		return nil, messages.Errorf(messages.CodeLimitExceeded, "the call starts %d runs, more than BulkRunsMax = %d", n, messages.BulkRunsMax)
	}
	runs, err := g.start(ctx, req.Msg.GetRuns(), "runs[%d]: ")
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.StartRunsResponse{Runs: runs}), nil
}

// batch gathers checked runs for one call of the backend. A run that is named
// twice, by its key, is started once.
type batch struct {
	runs []*messages.StartRun
	// place of each requested run in runs.
	place []int
	known map[string]int
}

func (b *batch) add(run *messages.StartRun) error {
	i, ok := b.known[run.GetRunId()]
	if !ok {
		i = len(b.runs)
		b.runs = append(b.runs, run)
		if b.known == nil {
			b.known = map[string]int{}
		}
		b.known[run.GetRunId()] = i
	} else if !messages.SamePayload(b.runs[i].GetStart().GetInput(), run.GetStart().GetInput()) {
		if key := run.GetStart().GetIdempotencyKey(); key != "" {
			return messages.Errorf(messages.CodeIdempotencyMismatch, "the call has idempotency key %q twice, with different inputs", key)
		}
		return messages.Errorf(messages.CodeIdempotencyMismatch, "the call has run_id %q twice, with different inputs", run.GetRunId())
	}
	b.place = append(b.place, i)
	return nil
}

// start checks and then starts runs. prefix is a format with the index of the
// run for the errors of a bulk call.
func (g *gateway) start(ctx context.Context, requests []*api.StartRunRequest, prefix string) ([]*api.StartRunResponse, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	var all batch
	seen := map[string]definitions.Workflow{}
	for i, r := range requests {
		run, err := g.checked(ctx, seen, r)
		if err == nil && prefix != "" && run.Signal != nil {
			err = messages.Errorf(messages.CodeInvalidArgument, "signal_name %q: runs that are started together take none", r.GetSignalName())
		}
		if err == nil {
			err = all.add(run)
		}
		if err != nil {
			return nil, located(prefix, i, err)
		}
	}
	replies, err := g.startAll(ctx, all.runs)
	if err != nil {
		return nil, err
	}
	responses := make([]*api.StartRunResponse, len(requests))
	for i, place := range all.place {
		if f := replies[place].GetError(); f != nil {
			return nil, located(prefix, i, messages.FromFailure(f))
		}
		responses[i] = &api.StartRunResponse{
			RunId:   all.runs[place].GetRunId(),
			Existed: replies[place].GetExisted(),
		}
	}
	return responses, nil
}

// startAll also holds the backend to one reply a run.
func (g *gateway) startAll(ctx context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	replies, err := g.backend.StartRuns(ctx, runs)
	if err == nil && len(replies) != len(runs) {
		err = messages.Errorf(messages.CodeInternal, "the backend answered %d of %d runs", len(replies), len(runs))
	}
	for _, r := range replies {
		if f := r.GetError(); f != nil {
			r.Error = messages.ToFailure(g.discreet("StartRuns", messages.FromFailure(f)))
		}
	}
	return replies, err
}

// located puts the place of a run in a bulk call before an error's message, and
// keeps what the error wraps.
func located(prefix string, i int, err error) error {
	var e *messages.Error
	if prefix == "" || !errors.As(err, &e) {
		return err
	}
	return e.Prefixed(fmt.Sprintf(prefix, i))
}

// definition finds a workflow, once a call.
func (g *gateway) definition(ctx context.Context, seen map[string]definitions.Workflow, name string) (definitions.Workflow, error) {
	if d, ok := seen[name]; ok {
		return d, nil
	}
	d, err := g.backend.Workflow(ctx, name)
	if err != nil {
		return definitions.Workflow{}, err
	}
	seen[name] = d
	return d, nil
}

// checked makes the message that starts a run, after checking all of it.
func (g *gateway) checked(ctx context.Context, seen map[string]definitions.Workflow, r *api.StartRunRequest) (*messages.StartRun, error) {
	if r == nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the run is null")
	}
	if err := checkStart(r); err != nil {
		return nil, err
	}
	d, err := g.definition(ctx, seen, r.GetWorkflow())
	if err != nil {
		return nil, err
	}
	id := r.GetRunId()
	switch key := r.GetIdempotencyKey(); {
	case key != "":
		id = messages.RunIDForKey(r.GetWorkflow(), key)
	case id == "":
		id = messages.NewRunID()
	}
	input, err := g.accepted(ctx, id, d.MayStart(), d, r.GetInput())
	if err != nil {
		return nil, err
	}
	start := started(ctx, d, "api", input, r.GetPriority(), r.GetMetadata())
	start.IdempotencyKey = r.GetIdempotencyKey()
	signal, err := signalOf(id, r)
	return &messages.StartRun{RunId: id, Start: start, Signal: signal}, err
}

// signalOf is the message that a start comes with; nil for none.
func signalOf(runID string, r *api.StartRunRequest) (*messages.SignalRun, error) {
	switch {
	case r.GetSignalName() == "" && (r.GetSignalMessageId() != "" || len(r.GetSignalPayload()) > 0):
		return nil, messages.Errorf(messages.CodeInvalidArgument, "signal_payload and signal_message_id are given without a signal_name")
	case r.GetSignalName() == "":
		return nil, nil
	case r.GetIdempotencyKey() == "":
		return nil, messages.Errorf(messages.CodeInvalidArgument, "signal_name %q without an idempotency_key: that says which run is to have it", r.GetSignalName())
	}
	payload, err := checkedPayload("signal", r.GetSignalName(), r.GetSignalPayload())
	if err != nil {
		return nil, err
	}
	id := r.GetSignalMessageId()
	if id == "" {
		id = messages.NewRequestID()
	}
	return &messages.SignalRun{RunId: runID, Name: r.GetSignalName(), MessageId: id, Payload: payload}, nil
}

// accepted returns the input of a run that a workflow starts, or the reason why it
// starts none, if there is one: then only what is there already is given back, for
// it was acknowledged.
func (g *gateway) accepted(ctx context.Context, runID string, reason error, w definitions.Workflow, input []byte) ([]byte, error) {
	if reason != nil {
		_, err := g.backend.LoadRun(ctx, runID)
		switch code := messages.CodeOf(err); {
		case code == messages.CodeUnknownRun:
			return nil, reason
		case code.Retryable():
			return nil, err
		}
	}
	return checkedInput(input, w.CheckInput)
}

func checkStart(r *api.StartRunRequest) error {
	if r.GetRunId() != "" && r.GetIdempotencyKey() != "" {
		return messages.Errorf(messages.CodeInvalidArgument, "run_id and idempotency_key are both given, and each names the run")
	}
	return messages.CheckFields(r)
}

// started makes the first event of a run of the workflow.
func started(ctx context.Context, d definitions.Workflow, trigger string, input []byte, priority int32, metadata map[string]string) *messages.RunStarted {
	return &messages.RunStarted{
		Workflow:       d.Def.GetName(),
		DefinitionHash: d.Hash,
		Input:          input,
		Priority:       messages.EffectivePriority(priority, d.Def.GetPriority()),
		Pool:           messages.EffectivePool(d.Def.GetPool()),
		Sticky:         d.Def.GetSticky(),
		Trigger:        trigger,
		Metadata:       metadata,
		Traceparent:    tracing.Traceparent(ctx),
	}
}

// checkedInput checks the input of a run and returns it without needless white
// space: two inputs that differ only there are the same to an idempotency key.
func checkedInput(raw []byte, check func([]byte) error) ([]byte, error) {
	if err := check(raw); err != nil {
		if len(raw) == 0 {
			return nil, messages.Errorf(messages.CodeInvalidInput, "no input was given: %s", messageOf(err))
		}
		return nil, err
	}
	if len(raw) == 0 {
		return []byte("null"), nil
	}
	return compact(raw), nil
}

// checkedPayload is checkedInput for the payload of something named, which no schema
// is given for.
func checkedPayload(of, name string, raw []byte) ([]byte, error) {
	return checkedInput(raw, func(raw []byte) error { return messages.CheckJSON(fmt.Sprintf("the payload of %s %q", of, name), raw) })
}

// compact leaves white space out of JSON; where there is none it is the same
// bytes.
func compact(raw []byte) []byte {
	inText := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case !inText && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			var out bytes.Buffer
			out.Grow(len(raw))
			_ = json.Compact(&out, raw) // it is JSON
			return out.Bytes()
		}
	}
	return raw
}

// messageOf is an error's message without its code.
func messageOf(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
