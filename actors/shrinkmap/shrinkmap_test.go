package shrinkmap

import "testing"

func TestMapThatShrinksKeepsWhatIsInIt(t *testing.T) {
	var m Map[int, int]
	for i := range 10_000 {
		m.Set(i, i)
	}
	made := 0
	for i := range 9_990 {
		before := m.most
		if m.Delete(i); m.most < before {
			made++
		}
	}
	if made != 1 {
		t.Errorf("made anew %d times", made)
	}
	for i := 9_990; i < 10_000; i++ {
		if !m.Has(i) || m.Get(i) != i {
			t.Errorf("%d is lost", i)
		}
	}
	if m.Len() != 10 {
		t.Errorf("%d are left", m.Len())
	}
}

func TestMapOfNothing(t *testing.T) {
	var m Map[string, int]
	m.Delete("a")
	if m.Has("a") || m.Get("a") != 0 || m.Len() != 0 {
		t.Error("the zero value has something in it")
	}
	m.Set("a", 1)
	for key, value := range m.All() {
		if key != "a" || value != 1 {
			t.Errorf("%s is %d", key, value)
		}
	}
	if m.Clear(); m.Has("a") {
		t.Error("a is left")
	}
}
