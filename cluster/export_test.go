package cluster

import "github.com/limpetrun/limpet/messages"

// LibraryMembers returns the ids in the library's member list.
func (n *Node) LibraryMembers() []string {
	var ids []string
	for _, m := range n.cluster.MemberList.Members().Members() {
		ids = append(ids, m.Id)
	}
	return ids
}

// LeaseAskMessage is what a worker sends to a server to ask for a lease.
func LeaseAskMessage(worker, server string) []byte {
	data, err := (&messages.LeaseAsk{Name: worker, To: server, Worker: true}).MarshalVT()
	if err != nil {
		panic(err)
	}
	return append([]byte(leaseAskPrefix), data...)
}

// TellToLook asks the other servers to look for a member, as one does who found
// out that its process has ended.
func (n *Node) TellToLook(name string) { n.members.gossip.AskToLook(name) }

// Relaying is how many streams between others this node passes on.
func (n *Node) Relaying() int { return n.remote.Relaying() }

// Anything lets nodes take all messages of each other: for tests with actors of their
// own.
func Anything(c Config) Config {
	c.anything = true
	return c
}
