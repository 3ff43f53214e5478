package demo

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// Answer of a question: words that a file must have all.
type Answer struct {
	Question string `json:"question"`
	Files    int    `json:"files"`
	// Hits of any of the words in those files.
	Hits int `json:"hits"`
}

// Index is an inverted index: where each word is.
type Index struct {
	Files, Words int
	Bytes        int64
	// places holds the files of a word, in order, with the number of its
	// occurrences.
	places map[string][]place
}

type place struct{ file, hits int32 }

// BuildIndex reads a corpus.
func BuildIndex(ctx context.Context, c Corpus) (*Index, error) {
	x := &Index{places: make(map[string][]place)}
	err := c.files(ctx, func(_ string, data []byte) {
		x.add(int32(x.Files), data)
		x.Files++
		x.Bytes += int64(len(data))
	})
	return x, err
}

func (x *Index) add(file int32, data []byte) {
	for at := 0; at < len(data); {
		if !isWordByte(data[at]) {
			at++
			continue
		}
		end := at + 1
		for end < len(data) && isWordByte(data[end]) {
			end++
		}
		x.Words++
		word := data[at:end]
		at = end
		places := x.places[string(word)]
		if n := len(places); n > 0 && places[n-1].file == file {
			places[n-1].hits++
			continue
		}
		x.places[string(word)] = append(places, place{file, 1})
	}
}

// Answer a question from memory.
func (x *Index) Answer(question string) Answer {
	words := strings.Fields(question)
	hits := make(map[int32]int)
	seen := make(map[int32]int)
	for _, w := range words {
		for _, p := range x.places[w] {
			hits[p.file] += int(p.hits)
			seen[p.file]++
		}
	}
	a := Answer{Question: question}
	for file, n := range seen {
		if n == len(words) {
			a.Files++
			a.Hits += hits[file]
		}
	}
	return a
}

// Top returns the n words that occur most often, of at least four letters.
func (x *Index) Top(n int) []string {
	type count struct {
		word string
		hits int
	}
	var counts []count
	for word, places := range x.places {
		if len(word) < 4 {
			continue
		}
		c := count{word: word}
		for _, p := range places {
			c.hits += int(p.hits)
		}
		counts = append(counts, c)
	}
	slices.SortFunc(counts, func(a, b count) int {
		if a.hits != b.hits {
			return b.hits - a.hits
		}
		return strings.Compare(a.word, b.word)
	})
	var words []string
	for _, c := range counts[:min(n, len(counts))] {
		words = append(words, c.word)
	}
	return words
}

// shelf is the memory of a worker process: the index of each run.
type shelf struct {
	mu      sync.Mutex
	indexes map[string]*Index
}

func (s *shelf) get(run string) *Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.indexes[run]
}

func (s *shelf) put(run string, x *Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.indexes == nil {
		s.indexes = make(map[string]*Index)
	}
	s.indexes[run] = x
}

func (s *shelf) drop(run string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.indexes, run)
}
