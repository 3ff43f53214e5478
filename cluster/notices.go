package cluster

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/messages"
)

// OnPause calls f when this process was paused for longer than half of the
// suspicion time, so that others may have declared it gone and taken over what
// it owned; d is about how long. It is called on a goroutine of the node, soon
// after the process goes on; what was under way then may go on before it.
func (n *Node) OnPause(f func(d time.Duration)) (cancel func()) { return n.paused.Add(f) }

func (n *Node) pauseLimit() time.Duration {
	return n.config.Preset.Suspicion(len(n.View().Members)) / 2
}

// OnDeclaredGone calls f when another member says that it had declared this
// node gone and sees it again, as a new member: what this node owned may have
// been taken over meanwhile. After a partition both sides hear it from each
// other, so it is no reason to exit, but to drop activations and let the
// journal decide. f is called inside an actor and must not wait.
func (n *Node) OnDeclaredGone(f func(by Member)) (cancel func()) { return n.declaredGone.Add(f) }

// tellReturned tells a member that came back of the verdict on it, which it
// cannot know by itself: memberlist refutes on its own.
func (n *Node) tellReturned(m Member) {
	pid := actor.NewPID(m.Address, activatorActor)
	self := n.Self()
	n.system.Root.RequestWithCustomSender(pid, &messages.DeclaredGone{Name: m.Name, By: self.Name, ByRole: string(self.Role)}, actor.NewPID(self.Address, activatorActor))
}

// heardVerdict takes what tellReturned of another node sent.
func (n *Node) heardVerdict(m *messages.DeclaredGone, from *actor.PID) {
	self := n.Self()
	if m.Name != self.Name {
		return
	}
	by, ok := n.View().Member(m.By)
	if !ok { // This node sees the other again a moment later.
		by = Member{Name: m.By, Role: Role(m.ByRole), Address: from.GetAddress()}
		by.WorkerID, by.Incarnation, _ = gossip.SplitName(m.By)
	}
	n.config.Logger.Warn("this node had been declared gone and is back", "by", m.By)
	n.declaredGone.Call(by)
}
