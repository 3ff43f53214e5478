package server

import (
	"maps"
)

// trimmedLeast is the size from which a map is worth to be made anew.
const trimmedLeast = 4096

// trimmed returns a map that something was just deleted from, made anew once it
// has but a sixteenth of what it had at most since: a map keeps its room, and
// there may have been many runs at once. Its caller keeps most for the map.
func trimmed[V any](m map[string]V, most *int) map[string]V {
	*most = max(*most, len(m)+1)
	if *most < trimmedLeast || len(m) > *most/16 {
		return m
	}
	anew := make(map[string]V, len(m))
	maps.Copy(anew, m)
	*most = len(m)
	return anew
}
