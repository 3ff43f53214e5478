package placement

import "time"

// pacer is a bucket of tokens that fills evenly, kept as the time at which it
// is full (GCRA, as in ATM Forum TM 4.0): a token is there as long as that time
// lies no further ahead than the others take to come.
type pacer struct {
	// perSecond tokens come in a second, and no more than so many are kept;
	// negative for no limit.
	perSecond int
	fullAt    time.Time
}

// take uses a token; false if there is none.
func (p *pacer) take(now time.Time) bool {
	if p.perSecond < 0 {
		return true
	}
	every := time.Second / time.Duration(p.perSecond)
	full := p.fullAt
	if full.Before(now) {
		full = now
	}
	if full.Add(every).Sub(now) > every*time.Duration(p.perSecond) {
		return false
	}
	p.fullAt = full.Add(every)
	return true
}
