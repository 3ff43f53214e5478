package cluster

import (
	"log/slog"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/messages"
)

// A member hears of the verdict of one that it does not see again yet: who says
// so matters, for a worker takes nothing over.
func TestVerdictOfAMemberThatIsNotInTheView(t *testing.T) {
	n := &Node{members: alone(Config{}, Member{Name: "s~1", Role: RoleServer}), config: Config{Logger: slog.New(slog.DiscardHandler)}}
	for _, role := range []Role{RoleWorker, RoleServer} {
		var by Member
		cancel := n.OnDeclaredGone(func(m Member) { by = m })
		n.heardVerdict(&messages.DeclaredGone{Name: "s~1", By: "o~2", ByRole: string(role)}, actor.NewPID("10.0.0.1:5", activatorActor))
		cancel()
		if want := (Member{Name: "o~2", WorkerID: "o", Incarnation: "2", Role: role, Address: "10.0.0.1:5"}); by != want {
			t.Errorf("the verdict is that of %+v, want %+v", by, want)
		}
	}
}
