package verdict

import (
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// Piece is one of the stream of a run, by its section and number, of an attempt.
type Piece struct {
	Section int
	Number  uint64
	Step    string
	Attempt int
	Text    string
}

// follows says that a piece is the next after another one: no gap, and nothing twice.
func (p Piece) follows(before Piece) bool {
	if p.Section == before.Section {
		return p.Number == before.Number+1 && p.Step == before.Step && p.Attempt == before.Attempt
	}
	return p.Section == before.Section+1 && p.Number == 1
}

// checkStream compares the stream of the run with what its attempts wrote, by the ledger:
// a section is the beginning of that, byte by byte, and has all that its attempt was told
// is durable.
func (h *history) checkStream() {
	wrote, durable := map[attemptKey][]string{}, map[attemptKey]int{}
	for _, e := range h.executions {
		key := attemptKey{e.Step, int32(e.Attempt)}
		for _, d := range e.Did {
			switch d.What {
			case Writes:
				wrote[key] = append(wrote[key], d.Value)
			case Wrote:
				durable[key] = len(wrote[key])
			}
		}
	}
	h.c.report.Seen.Pieces += len(h.Stream)
	stored, last := map[attemptKey]int{}, Piece{}
	for _, p := range h.Stream {
		if !p.follows(last) {
			h.breaks(RuleStreams, "piece %d.%d of %s#%d follows piece %d.%d of %s#%d", p.Section, p.Number, p.Step, p.Attempt, last.Section, last.Number, last.Step, last.Attempt)
		}
		last = p
		key := attemptKey{p.Step, int32(p.Attempt)}
		if n := stored[key]; n >= len(wrote[key]) || wrote[key][n] != p.Text {
			h.breaks(RuleStreams, "piece %d.%d is %q, which is not what %s#%d wrote there", p.Section, p.Number, p.Text, p.Step, p.Attempt)
		}
		stored[key]++
	}
	for key, n := range durable {
		if stored[key] < n {
			h.breaks(RuleStreams, "%s#%d has written %d pieces, %d are there", key.step, key.number, n, stored[key])
		}
	}
}

// checkRead: who follows a stream gets it from its beginning, and all of it if it ends.
func (c *checker) checkRead(call *Call) {
	h := c.runs[call.Runs[0]]
	if h == nil {
		return
	}
	all := h.Stream
	if len(call.Pieces) > len(all) || !slices.Equal(call.Pieces, all[:len(call.Pieces)]) {
		h.breaks(RuleStreams, "call %d read %d pieces that are not the first of the %d of the stream", call.Number, len(call.Pieces), len(all))
		return
	}
	// A replay writes more after the end.
	if call.Outcome == Acknowledged && len(h.generations) == 1 && len(call.Pieces) < len(all) {
		h.breaks(RuleStreams, "call %d read %d pieces until the run had ended, and there are %d", call.Number, len(call.Pieces), len(all))
	}
	if call.Outcome == Acknowledged {
		c.report.Seen.Followed++
	}
}

// noStream are codes that say why there is nothing to read: no step came to write.
var noStream = map[messages.Code]bool{messages.CodeUnknownStream: true}
