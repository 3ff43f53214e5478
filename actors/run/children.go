package run

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Children of a run that is about to end, by a cancel or because its steps have
// all ended. Those that are to end with it are canceled first: its own end is
// recorded when each of them has ended or has recorded the cancel. So a server
// that dies in between leaves a run that has not ended, and whoever takes it up
// begins again.
//
//	the journal is asked          Which children have ended: they need not be told, or
//	                              brought into memory for it.
//	the others are told           So many at a time, and again if they do not answer.
//	one is not there              Its start may be under way: it is recorded as
//	                              canceled, which that start then meets.

// childrenAtOnce is how many children are told at a time.
const childrenAtOnce = 32

// children is what an activation knows of the children of the run beyond the
// journal, by their run ids. The zero value knows nothing.
type children struct {
	// starting holds the tokens of who waits for the start of a child.
	starting map[string][]any

	// parting: the run is about to end. left are those children, by their index,
	// of which it is not known that they have ended or know of it.
	parting bool
	left    []int
	// listed: the journal has said which have ended; it was asked at askedAt.
	listed  bool
	askedAt time.Time
	// told is when a child was last told; noted are those that have taken note of
	// it, or have ended.
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

// tell notes that a child is told of the end.
func (c *children) tell(child string, now time.Time) {
	if c.told == nil {
		c.told = map[string]time.Time{}
	}
	c.told[child] = now
}

// note notes that a child has taken note of the end, or that there is none.
// While its start is under way the latter may not last.
func (c *children) note(child string) {
	if c.isStarting(child) {
		return
	}
	if c.noted == nil {
		c.noted = map[string]bool{}
	}
	c.noted[child] = true
	delete(c.told, child)
}

// part begins to part with some children; stay forgets it.
func (c *children) part(left []int) {
	c.parting, c.left, c.listed, c.askedAt = true, left, false, time.Time{}
}

func (c *children) stay() { c.parting, c.left, c.told, c.noted = false, nil, nil, nil }

// timers: the journal is asked again, or children are told again.
func (c *children) timers(next *earliest, after time.Duration) {
	next.addIf(c.askedAt.Add(after), len(c.left) > 0 && !c.listed)
	for _, at := range c.told {
		next.add(at.Add(after))
	}
}

// ---- deciding ------------------------------------------------------------------

// parted says that the run has parted with all children that are to end with it.
// Those that know nothing of it are told.
func (m *Machine) parted() bool {
	c := &m.children
	if !c.parting {
		var left []int
		for i := range m.s.Children {
			if m.endsWithRun(&m.s.Children[i]) {
				left = append(left, i)
			}
		}
		c.part(left)
	}
	c.left = slices.DeleteFunc(c.left, func(i int) bool { return c.noted[m.s.Children[i].RunID] })
	switch {
	case len(c.left) == 0:
		return true
	case c.listed:
		m.tellChildren()
	case c.askedAt.IsZero() || m.due(c.askedAt.Add(m.cfg.ResendAfter)):
		c.askedAt = m.now
		m.later(ListChildren{})
	}
	return false
}

// endsWithRun says that a child is to end with the run. A version that did not
// say so promised it for a cancel only.
func (m *Machine) endsWithRun(c *Child) bool {
	if c.OnParentEnd == messages.ParentEnd_PARENT_END_UNSPECIFIED {
		return m.s.Cancel != nil && !c.KeepOnCancel
	}
	return c.OnParentEnd == messages.ParentEnd_PARENT_END_CANCEL
}

// tellChildren tells the first of those that are left, and tells them again.
func (m *Machine) tellChildren() {
	under := 0
	for _, i := range m.children.left {
		c := &m.s.Children[i]
		if m.children.isStarting(c.RunID) {
			continue
		}
		if under++; under > childrenAtOnce {
			return
		}
		if at, told := m.children.told[c.RunID]; !told || m.due(at.Add(m.cfg.ResendAfter)) {
			m.cancelChild(c)
		}
	}
}

func (m *Machine) cancelChild(c *Child) {
	m.children.tell(c.RunID, m.now)
	m.later(CancelChild{RunID: c.RunID, Reason: m.partingWords(), Start: &messages.RunStarted{
		Workflow: c.Workflow, DefinitionHash: c.DefinitionHash, Trigger: "child", ParentRun: m.s.RunID, ParentStep: c.Step,
	}})
}

// partingWords say why a child is canceled.
func (m *Machine) partingWords() string {
	switch {
	case m.s.Cancel != nil:
		return m.canceled("parent run " + m.s.RunID)
	case m.s.Ending.GetStatus() == messages.RunStatus_RUN_STATUS_CANCELED:
		return fmt.Sprintf("parent run %s canceled", m.s.RunID)
	case m.s.failed() != nil:
		return fmt.Sprintf("parent run %s failed", m.s.RunID)
	}
	return fmt.Sprintf("parent run %s succeeded without waiting for it", m.s.RunID)
}

// childrenListed notes which children have ended.
func (m *Machine) childrenListed(in ChildrenListed) {
	if in.Err != nil || !m.children.parting {
		return
	}
	m.children.listed = true
	for _, child := range in.Ended {
		m.children.note(child)
	}
}
