package cluster

import (
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/identity"
)

const (
	// proveAgain is when a member that has not proved what it is is asked again.
	proveAgain = time.Second
	// proofsMax bounds the processes that are remembered beside the members.
	proofsMax = 4096
)

// proofs are which processes have proved on a connection what they are. Where members
// have certificates, gossip only says where somebody may be: a member that has not
// proved its name and role is not in the view. Nil proofs take everybody.
type proofs struct {
	self string
	// prove connects to an address, so that who is there proves what it is. It does not
	// wait.
	prove func(address string)
	// proved is told that a member may be in the view now. It does not wait.
	proved func()
	// revoked says that a member is not to be one any more.
	revoked func(identity.Member) error

	mu    sync.Mutex
	roles map[string]Role
	again *time.Timer
}

func newProofs(self string, prove func(string), proved func(), revoked func(identity.Member) error) *proofs {
	return &proofs{self: self, prove: prove, proved: proved, revoked: revoked, roles: map[string]Role{}}
}

// hold says that a process has proved what it is, and is not revoked.
func (p *proofs) hold(name string) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	role, ok := p.roles[name]
	return ok && p.mayBe(name, role)
}

func (p *proofs) mayBe(name string, role Role) bool {
	id, incarnation, _ := gossip.SplitName(name)
	return p.revoked(identity.Member{Role: role, ID: id, Incarnation: incarnation}) == nil
}

// note remembers what a process has proved.
func (p *proofs) note(name string, role Role) {
	if p == nil {
		return
	}
	p.mu.Lock()
	known := p.roles[name] == role
	if !known && len(p.roles) < proofsMax {
		p.roles[name] = role
	}
	p.mu.Unlock()
	if !known {
		p.proved()
	}
}

// only returns those of the members that have proved what they are, has the others asked,
// and forgets processes that are none.
func (p *proofs) only(heard []Member) []Member {
	if p == nil {
		return heard
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	proved, there := make([]Member, 0, len(heard)), make(map[string]bool, len(heard))
	asked := false
	for _, m := range heard {
		there[m.Name] = true
		switch {
		case m.Name == p.self || p.roles[m.Name] == m.Role && p.mayBe(m.Name, m.Role):
			proved = append(proved, m)
			continue
		case p.roles[m.Name] == m.Role:
			continue
		}
		asked = true
		p.prove(m.Address)
	}
	if len(p.roles) > proofsMax/2 {
		for name := range p.roles {
			if !there[name] {
				delete(p.roles, name)
			}
		}
	}
	if asked && p.again == nil {
		p.again = time.AfterFunc(proveAgain, func() {
			p.mu.Lock()
			p.again = nil
			p.mu.Unlock()
			p.proved()
		})
	}
	return proved
}

// stop ends the asking.
func (p *proofs) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.again != nil {
		p.again.Stop()
	}
}
