package server

import (
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// Starts travel in messages of a bounded number of bytes, each in one.
func TestStartsTravelInParts(t *testing.T) {
	size := func(bytes ...int) (runs []*messages.StartRun, indexes []int) {
		for i, n := range bytes {
			runs, indexes = append(runs, &messages.StartRun{Start: &messages.RunStarted{Input: make([]byte, n)}}), append(indexes, i)
		}
		return runs, indexes
	}
	for _, c := range []struct {
		bytes []int
		want  int
	}{
		{[]int{1}, 1},
		{[]int{2 * bulkPartBytes, 1}, 1},
		{[]int{bulkPartBytes / 2, bulkPartBytes / 3, bulkPartBytes / 2}, 2},
		{make([]int, bulkPart+1), bulkPart},
	} {
		if n := startsOfPart(size(c.bytes...)); n != c.want {
			t.Errorf("%d of %d starts travel together, not %d", n, len(c.bytes), c.want)
		}
	}
}
