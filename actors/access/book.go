package access

import "github.com/limpetrun/limpet/messages"

// bookMax bounds the records that wait to be written, beside one for each action and code.
const bookMax = 4096

// Book gathers records of what was done until they are written. Those that are alike are
// one, with a count, so that neither a flood of starts nor one of strangers fills it. When
// it is full, records lose what makes them differ: first what it was done to, then who
// has done it. The zero value is an empty one. It is not safe for concurrent use.
type Book struct {
	records []*messages.AuditRecord
	places  map[alike]int
}

// alike is what records have in common that are one.
type alike struct{ who, name, from, action, target, code, server string }

// Note adds what was done once.
func (b *Book) Note(r *messages.AuditRecord) {
	for _, as := range []alike{
		{r.Who, r.Name, r.From, r.Action, r.Target, r.Code, r.Server},
		{r.Who, r.Name, r.From, r.Action, "", r.Code, r.Server},
		{"", "", "", r.Action, "", r.Code, r.Server},
	} {
		if place, ok := b.places[as]; ok {
			b.records[place].Count += r.Count
			b.records[place].Targets += r.Targets
			return
		}
		if last := as.who == "" && as.from == ""; len(b.records) < bookMax || last {
			b.add(as, r)
			return
		}
	}
}

func (b *Book) add(as alike, r *messages.AuditRecord) {
	if b.places == nil {
		b.places = map[alike]int{}
	}
	b.places[as] = len(b.records)
	b.records = append(b.records, &messages.AuditRecord{AtUs: r.AtUs, Who: as.who, Name: as.name, From: as.from, Action: as.action, Target: as.target,
		Count: r.Count, Targets: r.Targets, Code: as.code, Server: as.server})
}

// Take empties the book and returns what was in it, in order.
func (b *Book) Take() []*messages.AuditRecord {
	taken := b.records
	*b = Book{}
	return taken
}

// Return puts back what was not written: it comes before what was noted meanwhile.
func (b *Book) Return(records []*messages.AuditRecord) {
	later := b.Take()
	for _, r := range append(records, later...) {
		b.Note(r)
	}
}
