package server

import (
	"context"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const (
	// movePause is the pause before it is asked again what is still on its way.
	movePause = 5 * time.Millisecond
	// passWithin bounds the search for the new owner of a run.
	passWithin = 3 * time.Second
)

// offer asks the new owner of shards once.
func (h *Host) offer(act activation.Offer) {
	msg := &messages.ShardsReleased{Shards: make([]int32, len(act.Shards))}
	for i, shard := range act.Shards {
		msg.Shards[i] = int32(shard)
	}
	owner, ok := h.cfg.Node.View().Member(act.Owner)
	if ok {
		_, err := askHost[*messages.ShardsTaken](h.ctx, h.engine, owner, msg, hostTry)
		ok = err == nil
	}
	h.handle(activation.Offered{Of: act, Taken: ok})
}

// Leave hands the runs of this server over, while it goes on to answer: it
// tells all members that it is about to leave, and returns when the other
// servers have taken the runs up, or ctx ends. The server owns nothing
// afterwards. The only server of a cluster has nobody to hand over to.
func (h *Host) Leave(ctx context.Context) {
	node := h.cfg.Node
	self := node.Self().Name
	if !slices.ContainsFunc(node.View().Servers(), func(m cluster.Member) bool { return m.Name != self }) {
		return
	}
	begin := time.Now()
	node.SetState(cluster.StateDraining)
	over := h.untilAway(ctx)
	h.log.Info("runs are handed over", "complete", over, "took", time.Since(begin).Round(time.Millisecond))
}

// untilAway waits until the server has nothing left; false if ctx ends before.
func (h *Host) untilAway(ctx context.Context) bool {
	t := time.NewTicker(movePause)
	defer t.Stop()
	for {
		h.mu.RLock()
		away := h.core.Away()
		h.mu.RUnlock()
		if away {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
}

// declaredGone: another server had given this one up, and taken its runs.
func (h *Host) declaredGone(by cluster.Member) {
	if by.Role == cluster.RoleServer {
		h.handle(activation.DeclaredGone{})
	}
}

// sendOver gives what a worker said to the new owner of a run.
func (h *Host) sendOver(act activation.SendOver) {
	defer h.handle(activation.PassedOver{})
	ctx, cancel := context.WithTimeout(h.ctx, passWithin)
	defer cancel()
	h.cfg.Node.Forget(cluster.KindRun, act.RunID)
	pid, err := h.cfg.Node.Resolve(ctx, cluster.KindRun, act.RunID)
	if err != nil {
		return
	}
	sender, _ := act.Sender.(*actor.PID)
	h.root.RequestWithCustomSender(pid, act.Result, sender)
}
