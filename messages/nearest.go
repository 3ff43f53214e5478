package messages

import "strings"

// Nearest returns the known name that was probably meant by another one, for a
// hint; empty if none comes near. Case, and - for _, do not count.
func Nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(plainName(name), plainName(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

func plainName(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "-", "_"))
}

// distance is how many bytes have to be put in, left out or changed to make one
// word of another; two that changed places count as one.
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
