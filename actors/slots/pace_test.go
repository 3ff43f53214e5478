package slots

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Results that nobody takes are repeated, all together at most ResendBytes a
// second.
func TestRepetitionsArePaced(t *testing.T) {
	const results, minutes = 48, 10
	now := epoch
	c := New(Config{WorkerID: "w1", Slots: results})
	for i := range results {
		c.Dispatch(now, &messages.Dispatch{RunId: fmt.Sprint("r", i), Step: "a", Attempt: 1, ReplyAddress: "s"})
	}
	output := bytes.Repeat([]byte{'1'}, messages.PayloadBytesMax)
	for id := range uint64(results) {
		c.FunctionEnded(now, id+1, output, nil)
	}
	if c.kept != results*messages.PayloadBytesMax {
		t.Fatalf("%d bytes are kept", c.kept)
	}
	repeated := map[string]int{}
	total := 0
	for end := now.Add(minutes * time.Minute); now.Before(end); now = c.Next() {
		for _, a := range c.Tick(now) {
			if r, ok := a.Message.(*messages.Result); ok {
				repeated[a.RunID]++
				total += len(r.GetOutput())
			}
		}
	}
	if most := (minutes*60 + 10) * ResendBytes; total > most {
		t.Errorf("%d bytes are repeated in %d minutes, more than %d a second", total, minutes, ResendBytes)
	}
	for i := range results {
		if n := repeated[fmt.Sprint("r", i)]; n < minutes*60/15 {
			t.Errorf("result %d is repeated %d times in %d minutes", i, n, minutes)
		}
	}
}
