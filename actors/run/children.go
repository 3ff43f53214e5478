package run

import (
	"maps"
	"slices"
	"time"
)

// children is what an activation knows of the children of the run beyond the
// journal, by their run ids. The zero value knows nothing.
type children struct {
	// starting holds the tokens of who waits for the start of a child.
	starting map[string][]any
	// told is when a child was last told of the cancel of the run; noted are
	// those that have taken note of it.
	told  map[string]time.Time
	noted map[string]bool
}

// await notes that somebody waits for the start of a child.
func (c *children) await(child string, token any) {
	if c.starting == nil {
		c.starting = map[string][]any{}
	}
	c.starting[child] = append(c.starting[child], token)
}

// started takes the tokens of who waited for a child.
func (c *children) started(child string) []any {
	tokens := c.starting[child]
	delete(c.starting, child)
	return tokens
}

// giveUp takes the tokens of all who wait.
func (c *children) giveUp() []any {
	var tokens []any
	for _, child := range slices.Sorted(maps.Keys(c.starting)) {
		tokens = append(tokens, c.starting[child]...)
	}
	c.starting = nil
	return tokens
}

// isStarting says that the start of a child is under way: a cancel that
// overtakes it finds no run.
func (c *children) isStarting(child string) bool { return len(c.starting[child]) > 0 }

// anyStarting says so of any child.
func (c *children) anyStarting() bool { return len(c.starting) > 0 }

// tell notes that a child is told of the cancel.
func (c *children) tell(child string, now time.Time) {
	if c.told == nil {
		c.told = map[string]time.Time{}
	}
	c.told[child] = now
}

// note notes that a child has taken note of the cancel, or that there is none.
// While its start is under way the latter may not last.
func (c *children) note(child string) {
	if c.isStarting(child) {
		return
	}
	if c.noted == nil {
		c.noted = map[string]bool{}
	}
	c.noted[child] = true
}

// retellAt is when a child is told of the cancel again; false if it was not
// told yet.
func (c *children) retellAt(child string, after time.Duration) (time.Time, bool) {
	at, ok := c.told[child]
	return at.Add(after), ok
}
