package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// logEvery is how often who follows a log is looked after.
	logEvery = 500 * time.Millisecond
	// logTail is after how many such looks with nothing new the log of a run that has
	// ended is over: its workers may still send what was said last.
	logTail = 4
)

// ReadLog streams what the steps of a run have logged.
func (g *gateway) ReadLog(ctx context.Context, req *connect.Request[api.ReadLogRequest], stream *connect.ServerStream[api.ReadLogResponse]) error {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return err
	}
	if err := g.knowsStep(ctx, r.GetRunId(), r.GetStep()); err != nil {
		return err
	}
	ctx, cancel := g.untilStop(ctx)
	defer cancel()
	after, quiet := r.GetAfter(), 0
	for {
		chunks, ended, err := g.backend.ReadLog(ctx, r.GetRunId(), after)
		if err != nil {
			return err
		}
		if err := api.SayServed(stream); err != nil {
			return err
		}
		if err := sendChunks(stream, chunks, r.GetStep()); err != nil {
			return err
		}
		if len(chunks) > 0 {
			after, quiet = chunks[len(chunks)-1].GetPlace(), 0
			continue
		}
		if ended {
			quiet++
		}
		if !r.GetFollow() || quiet > logTail {
			return nil
		}
		if backoff.Sleep(ctx, logEvery) != nil {
			return context.Cause(ctx)
		}
	}
}

// sendChunks sends those of a step; of all if none is named.
func sendChunks(stream *connect.ServerStream[api.ReadLogResponse], chunks []*api.ReadLogResponse, step string) error {
	for _, c := range chunks {
		if step != "" && step != c.GetChunk().GetStep() {
			continue
		}
		if err := stream.Send(c); err != nil {
			return err
		}
	}
	return nil
}

// knowsStep returns UNKNOWN_STEP for one that the run does not have.
func (g *gateway) knowsStep(ctx context.Context, runID, step string) error {
	if step == "" {
		return nil
	}
	run, err := g.backend.LoadRun(ctx, runID)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range run.GetSteps() {
		if s.GetName() == step {
			return nil
		}
		names = append(names, s.GetName())
	}
	hint := ""
	if nearest := messages.Nearest(step, names); nearest != "" {
		hint = "; did you mean \"" + nearest + "\"?"
	}
	return messages.Errorf(messages.CodeUnknownStep, "run %s has no step %q%s", runID, step, hint)
}
