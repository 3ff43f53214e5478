package server

import (
	"strconv"
	"testing"
)

func TestTrimmedMapKeepsWhatIsInIt(t *testing.T) {
	m, most, made := map[string]int{}, 0, 0
	for i := range 10_000 {
		m[strconv.Itoa(i)] = i
	}
	for i := range 9_990 {
		delete(m, strconv.Itoa(i))
		before := most
		if m = trimmed(m, &most); most < before {
			made++
		}
	}
	if made != 1 {
		t.Errorf("made anew %d times", made)
	}
	for i := 9_990; i < 10_000; i++ {
		if m[strconv.Itoa(i)] != i {
			t.Errorf("%d is lost", i)
		}
	}
	if len(m) != 10 {
		t.Errorf("%d are left", len(m))
	}
}
