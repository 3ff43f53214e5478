package journal

import "github.com/limpetrun/limpet/cluster/notify"

// Stored is an entry of a run that has become durable. It is shared and must not
// be changed.
type Stored struct {
	Number uint64
	Entry  []byte
	// Row is nil if the entry changed nothing in it.
	Row *Row
}

// Stored are the hooks of runs, by their ids. They are called with every entry
// that this Committer makes durable, in the order of the run's entries, on a
// committing goroutine, which they must not block. What other servers or earlier
// processes wrote they do not hear of. A reader who wants the whole history adds
// its hook first, reads then, and drops the numbers that come twice.
func (c *Committer) Stored() *notify.Topics[string, Stored] { return &c.stored }
