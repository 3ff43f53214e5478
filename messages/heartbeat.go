package messages

import "time"

// StoreInMemory begins the identity of a store that ends with its process.
const StoreInMemory = "memory/"

// StoredHeartbeat is the newest heartbeat of a server, as a store returns it:
// the store is where servers that do not hear of each other learn that the
// other one lives.
type StoredHeartbeat struct {
	// Server is the name of a member, that of one process.
	Server string
	// Data is an encoded Heartbeat, at most a few kilobytes; stores do not read
	// it.
	Data []byte
	// Age by the store's clock: since the heartbeat was written until it was
	// read.
	Age time.Duration
}
