// Package shrinkmap has a map that gives its room back. A map of Go keeps the
// room of the most elements that it ever had, and a server may have had very many
// runs at once.
//
// Data flow: Set, Delete → Get, Has, Len, All, Values.
//
// Rules: once a map has but a sixteenth of the most elements since it was made, it
// is made anew; a small one never is.
//
// Imports nothing of ours.
package shrinkmap

import (
	"iter"
	"maps"
)

const (
	// shrinkFrom is the size from which making a map anew is worth it.
	shrinkFrom = 4096
	// shrinkAt: with one of so many elements left it is made anew.
	shrinkAt = 16
)

// Map is a map whose zero value is empty and ready. Like a map of Go it may be
// read by several goroutines at once while none changes it.
type Map[K comparable, V any] struct {
	elements map[K]V
	// most is how many elements there were since elements was made.
	most int
}

// Get returns the value of a key; the zero value if there is none.
func (m *Map[K, V]) Get(key K) V { return m.elements[key] }

// Has says whether the key has a value.
func (m *Map[K, V]) Has(key K) bool {
	_, ok := m.elements[key]
	return ok
}

// Len is how many keys have a value.
func (m *Map[K, V]) Len() int { return len(m.elements) }

// All are the keys and their values, in no order. The map must not be changed
// meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.elements) }

// Values are the values alone.
func (m *Map[K, V]) Values() iter.Seq[V] { return maps.Values(m.elements) }

// Set gives a key a value.
func (m *Map[K, V]) Set(key K, value V) {
	if m.elements == nil {
		m.elements = map[K]V{}
	}
	m.elements[key] = value
	m.most = max(m.most, len(m.elements))
}

// Delete takes a key's value away, if it has one.
func (m *Map[K, V]) Delete(key K) {
	delete(m.elements, key)
	if m.most < shrinkFrom || len(m.elements) > m.most/shrinkAt {
		return
	}
	anew := make(map[K]V, len(m.elements))
	maps.Copy(anew, m.elements)
	m.elements, m.most = anew, len(anew)
}

// Clear takes all values away, and gives all the room back.
func (m *Map[K, V]) Clear() { *m = Map[K, V]{} }
