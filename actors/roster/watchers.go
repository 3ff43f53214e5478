package roster

import "slices"

// watchers are those who hear of a worker. Their order is the same for the same
// calls.
type watchers[W comparable] struct {
	list []W
	// at is where each one stands in the list.
	at map[W]int
	// most is how many there were since the room for them was made.
	most int
}

func (s *watchers[W]) len() int { return len(s.list) }

func (s *watchers[W]) has(w W) bool {
	_, ok := s.at[w]
	return ok
}

// all returns a copy.
func (s *watchers[W]) all() []W { return slices.Clone(s.list) }

func (s *watchers[W]) add(w W) {
	if s.has(w) {
		return
	}
	if s.at == nil {
		s.at = map[W]int{}
	}
	s.at[w] = len(s.list)
	s.list = append(s.list, w)
	s.most = max(s.most, len(s.list))
}

// remove puts the last one in the place of one that goes.
func (s *watchers[W]) remove(w W) {
	i, ok := s.at[w]
	if !ok {
		return
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.at[s.list[i]] = i
	var none W
	s.list[last] = none
	s.list = s.list[:last]
	delete(s.at, w)
	s.shrink()
}

// shrinkFrom is the size from which the room is worth to be made anew.
const shrinkFrom = 4096

// shrink makes the room anew once there are but a sixteenth of those that there
// were: there may have been many runs at once.
func (s *watchers[W]) shrink() {
	if s.most < shrinkFrom || len(s.list) > s.most/16 {
		return
	}
	s.list = s.all()
	s.at = make(map[W]int, len(s.list))
	for i, w := range s.list {
		s.at[w] = i
	}
	s.most = len(s.list)
}
