package server

import (
	"context"
	"sync"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// A message between servers has bulkPart starts at most, and no more bytes than
// bulkPartBytes unless a single one has them.
const (
	bulkPart      = 100
	bulkPartBytes = 4 << 20
)

func (e *Engine) startOnOwners(ctx context.Context, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	byOwner := map[cluster.Member][]int{}
	view := e.host.cfg.Node.View()
	for _, i := range indexes {
		m, ok := view.OwnerOfRun(runs[i].RunId)
		if !ok {
			replies[i] = &messages.StartRunReply{Error: messages.ToFailure(
				messages.Errorf(messages.CodeUnavailable, "no server owns run %s now", runs[i].RunId))}
			continue
		}
		byOwner[m] = append(byOwner[m], i)
	}
	var wait sync.WaitGroup
	for owner, indexes := range byOwner {
		if owner.Name == e.host.cfg.Node.Self().Name {
			wait.Go(func() { e.startHere(ctx, runs, indexes, replies) })
			continue
		}
		for len(indexes) > 0 {
			part := indexes[:startsOfPart(runs, indexes)]
			indexes = indexes[len(part):]
			wait.Go(func() { e.startThere(ctx, owner, runs, part, replies) })
		}
	}
	wait.Wait()
}

// startsOfPart is how many of the first starts travel in one message.
func startsOfPart(runs []*messages.StartRun, indexes []int) int {
	size := 0
	for n, i := range indexes {
		size += runs[i].SizeVT()
		if n == bulkPart || n > 0 && size > bulkPartBytes {
			return n
		}
	}
	return len(indexes)
}

func (e *Engine) startHere(ctx context.Context, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	part := make([]*messages.StartRun, len(indexes))
	for k, i := range indexes {
		part[k] = runs[i]
	}
	for k, r := range e.host.startRuns(ctx, part) {
		replies[indexes[k]] = r
	}
}

// startThere asks the host of another server once, and whoever owns the runs by
// then if it does not answer: starting twice is harmless.
func (e *Engine) startThere(ctx context.Context, owner cluster.Member, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	part := &messages.StartRuns{Runs: make([]*messages.StartRun, len(indexes))}
	for k, i := range indexes {
		part.Runs[k] = runs[i]
	}
	answer, err := askHost[*messages.StartRunsReply](ctx, e, owner, part, startTry)
	if err == nil && len(answer.GetRuns()) != len(indexes) {
		err = messages.Errorf(messages.CodeInternal, "server %s answered %d of %d starts", owner.Name, len(answer.GetRuns()), len(indexes))
	}
	code := messages.CodeUnavailable
	if messages.CodeOf(err) == messages.CodePayloadTooLarge {
		code = messages.CodePayloadTooLarge // for good
	}
	for k, i := range indexes {
		if err != nil {
			replies[i] = &messages.StartRunReply{Error: messages.ToFailure(
				messages.Errorf(code, "run %s: server %s did not answer: %w", runs[i].RunId, owner.Name, err))}
			continue
		}
		replies[i] = answer.Runs[k]
	}
}
