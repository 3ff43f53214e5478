// Package gossip knows which processes are members of the cluster, by memberlist
// and by what it finds out beside it. Nothing else in the repository imports
// memberlist.
//
// Data flow: memberlist's callbacks → table → news and members, taken together by
// one goroutine of the caller (Gossip.Take) → the view. The other way: what this
// node says of itself (Gossip.Show), packets to other members (Gossip.Packet).
//
// # What holds
//
//   - M1. A member's Name is one process. Its ID is one appearance of that process
//     at this observer: who was declared gone and is back has another ID, also when
//     leaving and return came at once.
//   - M2. A member is suspect from memberlist's verdict until the refute time has
//     passed. It stays among the members for so long. If it refutes the verdict it
//     never left.
//   - M3. A member whose ports refuse connections is marked dead at once. It is
//     revived, as another appearance, if it is heard, or if memberlist has come to
//     no verdict after the longest time that it takes for one.
//   - M4. News and members are taken in one step: whoever acts on the news first
//     knows whatever the members show.
//   - M5. memberlist calls its delegate under its own lock. The table's methods call
//     nobody, so the delegate waits for nothing.
//   - M6. A worker asks each server for a lease some times a second. A server that
//     has heard one so that serves, and hears nothing of it for its patience, marks it silent:
//     it is taken out as by a verdict. What another server has heard counts too. A
//     worker that says that it has got no lease, though leases are given, does not hear
//     the server, and does not count as heard. A worker that asks and is called silent
//     or dead is told, and makes itself known: so it is back, as another appearance,
//     when it has heard the server. Until then it refutes a verdict of memberlist by
//     asking.
//   - M7. A worker knows servers and itself, no other worker. Workers do not probe,
//     accuse or tell each other anything, so what a worker costs does not grow with
//     their number. That a server probes one member after the other, and comes to
//     each the later the more there are, does not matter: M6 does not depend on it.
//
// Imports only backoff, identity, inquire and messages.
package gossip

import (
	"context"
	"log/slog"
	"time"

	"github.com/limpetrun/limpet/cluster/inquire"
)

// Config of a node's gossip. Every field is required but AdvertiseHost, Seeds, Key,
// Store and Transport.
type Config struct {
	// Self is how this node describes itself until Start.
	Self Member
	// Address to listen at, IP:port, TCP and UDP, and the host that others reach it
	// by if that is another one.
	Address, AdvertiseHost string
	// Seeds are addresses of members to contact again and again.
	Seeds []string
	// Key that packets are encrypted with, 32 bytes; nil for plain text.
	Key       []byte
	Preset    Preset
	Transport Transport
	Logger    *slog.Logger
	// Delay of this process of late, see SchedulingDelay.
	Delay *SchedulingDelay
	// Refused says that nobody listens at an address, see remote.Refused.
	Refused func(ctx context.Context, address string) bool
	// Dial connects to find out what a seed is that is no gossip.
	Dial inquire.Dial
	// Store is the identity of a server's store; empty for a worker.
	Store string
	// Foreign is told why a worker has to end that has lost its own store's servers
	// and meets those of another one.
	Foreign func(error)
	// OnPacket takes the packets of other members that the package does not know.
	// It is called by memberlist's goroutines and must not wait.
	OnPacket func([]byte)
}

const (
	// goneMax bounds the names that are remembered to tell who comes back that it
	// had been declared gone.
	goneMax = 1024
	// visitsMax bounds the visits that wait; more are left to the next connection.
	visitsMax = 16
	// metaBytesMax is memberlist's limit: it panics on more.
	metaBytesMax = 512
	// ShowFor is how long Show may wait until a packet with the state was sent.
	ShowFor = time.Second
)
