package node

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap of a server grow to four times what lives before it
// is collected: a fifth of a busy server's time went into collecting a small
// heap.
const gcPercent = 300

// TuneProcess sets the collector of a process that is nothing but a server,
// unless GOGC in its environment says otherwise.
func TuneProcess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
