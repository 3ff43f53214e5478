package roster

import "testing"

// Very many watchers leave no room behind, and the others stay.
func TestWatchersGiveRoomBack(t *testing.T) {
	var s watchers[int]
	const many = 50_000
	for i := range many {
		s.add(i)
		s.add(i)
	}
	for i := range many - 10 {
		s.remove(i)
		s.remove(i)
	}
	if s.len() != 10 || cap(s.list) > 16*listShrinkAt || !s.has(many-1) || s.has(0) {
		t.Errorf("%d watchers in the room for %d", s.len(), cap(s.list))
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}
