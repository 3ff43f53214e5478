package roster

import (
	"slices"

	"github.com/limpetrun/limpet/actors/shrinkmap"
)

// watchers are those who hear of a worker. Their order is the same for the same
// calls. There may be as many as runs: what they no longer need they give back.
type watchers[W comparable] struct {
	list []W
	// at is where each one stands in the list.
	at shrinkmap.Map[W, int]
}

func (s *watchers[W]) len() int { return len(s.list) }

func (s *watchers[W]) has(w W) bool { return s.at.Has(w) }

// all returns a copy.
func (s *watchers[W]) all() []W { return slices.Clone(s.list) }

func (s *watchers[W]) add(w W) {
	if s.has(w) {
		return
	}
	s.at.Set(w, len(s.list))
	s.list = append(s.list, w)
}

// remove puts the last one in the place of one that goes.
func (s *watchers[W]) remove(w W) {
	if !s.has(w) {
		return
	}
	i, last := s.at.Get(w), len(s.list)-1
	s.list[i] = s.list[last]
	s.at.Set(s.list[i], i)
	var none W
	s.list[last] = none
	s.list = s.list[:last]
	s.at.Delete(w)
	if len(s.list) < cap(s.list)/listShrinkAt {
		s.list = s.all()
	}
}

// listShrinkAt: a list of which one of so many places is used gets a smaller one.
const listShrinkAt = 16
