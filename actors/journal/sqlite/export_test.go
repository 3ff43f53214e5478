package sqlite

import "github.com/limpetrun/limpet/actors/journal"

// ListQueries are the statements of a listing: groups, a page and a count.
func ListQueries(f journal.Filter) []string {
	from := sourceOf(&f)
	return []string{from.groups, from.page, from.count}
}
