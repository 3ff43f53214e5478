package remote

import "github.com/asynkron/protoactor-go/actor"

// remoteProcess stands for an actor of another node.
type remoteProcess struct{ r *Remote }

var _ actor.Process = remoteProcess{}

func (p remoteProcess) SendUserMessage(pid *actor.PID, message any) {
	header, m, sender := actor.UnwrapEnvelope(message)
	p.r.send(pid, header, m, sender)
}

func (p remoteProcess) SendSystemMessage(pid *actor.PID, message any) {
	switch m := message.(type) {
	case *actor.Watch:
		p.r.watch(m.Watcher, pid)
	case *actor.Unwatch:
		p.r.unwatch(m.Watcher, pid)
	}
	p.r.send(pid, nil, message, nil)
}

// Stop does nothing: no node may stop the actors of another one (W7).
func (p remoteProcess) Stop(*actor.PID) {}

// watch remembers who has to be told when the connection ends.
func (r *Remote) watch(watcher, watchee *actor.PID) {
	for {
		p := r.peer(watchee.Address)
		if p == nil {
			r.tellTerminated(watcher.Id, watchee, actor.TerminatedReason_AddressTerminated)
			return
		}
		if p.box.watch(watcher.Id, watchee) {
			return
		}
	}
}

func (r *Remote) unwatch(watcher, watchee *actor.PID) {
	r.mu.Lock()
	p, ok := r.peers[watchee.Address]
	r.mu.Unlock()
	if ok {
		p.box.unwatch(watcher.Id, watchee)
	}
}

func (r *Remote) tellTerminated(watcher string, who *actor.PID, why actor.TerminatedReason) {
	if process, ok := r.system.ProcessRegistry.GetLocal(watcher); ok {
		process.SendSystemMessage(r.system.NewLocalPID(watcher), &actor.Terminated{Who: who, Why: why})
	}
}
