package verdict

import "github.com/limpetrun/limpet/messages"

// progressed: progress is that of the live attempt, and newer than what is recorded of it.
func (h *history) progressed(p *messages.StepProgressed) {
	a := h.byKey[attemptKey{p.GetStep(), p.GetAttempt()}]
	switch {
	case a == nil || a.ending != live:
		h.breaks(RuleStaleAccepted, "%s#%d tells its progress, and is not live", p.GetStep(), p.GetAttempt())
	case p.GetSerial() <= a.progress:
		h.breaks(RuleStaleAccepted, "progress %d of %s#%d follows its progress %d", p.GetSerial(), p.GetStep(), p.GetAttempt(), a.progress)
	default:
		a.progress = p.GetSerial()
	}
}

// continued: the run goes on as new, where it is bound. All of its steps begin again, once
// the one that asked for it has succeeded and no attempt lives.
func (h *history) continued(c *messages.RunContinued) {
	h.c.report.Seen.Continued++
	h.links++
	if h.phases[c.GetStep()] != done {
		h.breaks(RuleHistory, "the run goes on as new by step %s, which has not succeeded", c.GetStep())
	}
	for step, a := range h.newest {
		if a.ending == live {
			h.breaks(RuleAttempts, "the run goes on as new while %s#%d is live", step, a.number)
		}
		// What a suspended step of the link before waits for is of no interest.
		a.resumed = true
	}
	clear(h.phases)
	clear(h.calls)
	clear(h.pending)
	clear(h.wants)
}

// streamOpened: a section of a stream is written by a live attempt, follows the one
// before it, and begins once that one is over.
func (h *history) streamOpened(o *messages.StreamOpened) {
	before := h.streams[o.GetStream()]
	switch {
	case !h.lives(o.GetStep(), o.GetAttempt()):
		h.breaks(RuleStaleAccepted, "%s#%d writes stream %s, and is not live", o.GetStep(), o.GetAttempt(), o.GetStream())
	case o.GetSection() != before.GetSection()+1:
		h.breaks(RuleHistory, "section %d of stream %s follows section %d", o.GetSection(), o.GetStream(), before.GetSection())
	case before != nil && h.lives(before.GetStep(), before.GetAttempt()):
		h.breaks(RuleAttempts, "%s#%d writes stream %s while %s#%d does", o.GetStep(), o.GetAttempt(), o.GetStream(), before.GetStep(), before.GetAttempt())
	}
	if h.streams == nil {
		h.streams = map[string]*messages.StreamOpened{}
	}
	h.streams[o.GetStream()] = o
}

func (h *history) lives(step string, attempt int32) bool {
	a := h.byKey[attemptKey{step, attempt}]
	return a != nil && a.ending == live
}
