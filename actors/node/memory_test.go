package node

import "testing"

// Memory is given back once for each time of work, when that is over.
func TestRestingGivesMemoryBackOnce(t *testing.T) {
	const mb = 1 << 20
	var r resting
	for i, step := range []struct {
		allocated uint64
		gives     bool
	}{
		{10 * mb, false},   // a start allocates little
		{500 * mb, false},  // it works
		{900 * mb, false},  // and works
		{901 * mb, true},   // it rests
		{902 * mb, false},  // there is nothing new to give back
		{950 * mb, false},  // it works again
		{951 * mb, true},   // and rests
		{966 * mb, false},  // little by little
		{981 * mb, false},  // something
		{996 * mb, true},   // gathers
		{1012 * mb, false}, // too much for a server that rests
	} {
		if gives := r.step(step.allocated); gives != step.gives {
			t.Errorf("step %d, %d MB allocated: gives back %v, want %v", i, step.allocated/mb, gives, step.gives)
		}
	}
}
