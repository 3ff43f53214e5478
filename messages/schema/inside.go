package schema

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// array checks the items of an array.
func (c *check) array(n *node, i uint32, own *notes) *Fault {
	size := int(c.doc.values[i].size)
	switch {
	case n.minItems != none && size < n.minItems:
		return misfit("minItems: it has %d items, fewer than %d", size, n.minItems)
	case n.maxItems != none && size > n.maxItems:
		return misfit("maxItems: it has %d items, more than %d", size, n.maxItems)
	}
	if f := c.items(n, i, own); f != nil {
		return f
	}
	if f := c.contains(n, i, own); f != nil {
		return f
	}
	if n.unique {
		if f := c.unique(i); f != nil {
			return f
		}
	}
	return c.otherItems(n, i, own)
}

// items checks the items that have a schema by their place.
func (c *check) items(n *node, i uint32, own *notes) *Fault {
	if len(n.prefix) == 0 && n.items == nil {
		return nil
	}
	for at, item := range c.doc.items(i) {
		m := n.items
		if at < len(n.prefix) {
			m = n.prefix[at]
		}
		if m == nil {
			break
		}
		if f := c.value(m, item, nil); f != nil {
			return f.in("[" + strconv.Itoa(at) + "]")
		}
	}
	if own != nil {
		own.first = max(own.first, min(len(n.prefix), int(c.doc.values[i].size)))
		own.all = own.all || n.items != nil
	}
	return nil
}

func (f *Fault) in(segment string) *Fault {
	f.Path = segment + f.Path
	return f
}

func (c *check) contains(n *node, i uint32, own *notes) *Fault {
	if n.contains == nil {
		return nil
	}
	found := 0
	for at, item := range c.doc.items(i) {
		switch f := c.value(n.contains, item, nil); {
		case f == nil:
			found++
			own.item(at)
		case f.OverBudget:
			return f
		}
	}
	least := n.minContains
	if least == none {
		least = 1
	}
	switch {
	case found < least:
		return misfit("contains: %d items fit, fewer than %d", found, least)
	case n.maxContains != none && found > n.maxContains:
		return misfit("contains: %d items fit, more than %d", found, n.maxContains)
	}
	return nil
}

func (c *check) unique(i uint32) *Fault {
	v := c.doc.values[i]
	if f := c.spend(int(v.end-v.start) / 8); f != nil {
		return f
	}
	seen := make(map[string]int, v.size)
	for at, item := range c.doc.items(i) {
		key := string(c.doc.canonical(nil, item))
		if first, ok := seen[key]; ok {
			return misfit("uniqueItems: items %d and %d are the same", first, at)
		}
		seen[key] = at
	}
	return nil
}

// otherItems checks the items that nothing has evaluated.
func (c *check) otherItems(n *node, i uint32, own *notes) *Fault {
	if n.unevaluatedItems == nil {
		return nil
	}
	if !own.all {
		for at, item := range c.doc.items(i) {
			if at < own.first || own.found[at] {
				continue
			}
			if f := c.value(n.unevaluatedItems, item, nil); f != nil {
				return f.in("[" + strconv.Itoa(at) + "]")
			}
		}
	}
	own.all = true
	return nil
}

// object checks the members of an object.
func (c *check) object(n *node, i uint32, own *notes) *Fault {
	size := int(c.doc.values[i].size)
	switch {
	case n.minProperties != none && size < n.minProperties:
		return misfit("minProperties: it has %d, fewer than %d", size, n.minProperties)
	case n.maxProperties != none && size > n.maxProperties:
		return misfit("maxProperties: it has %d, more than %d", size, n.maxProperties)
	}
	if f := c.required(n, i); f != nil {
		return f
	}
	var unknown []string
	for name, member := range c.doc.members(i) {
		f, known := c.member(n, name, member, own)
		if f != nil {
			return f
		}
		if !known {
			unknown = append(unknown, c.doc.text(name))
		}
	}
	if len(unknown) > 0 {
		text, _ := json.Marshal(unknown)
		return misfit("unknown %s", cut(text))
	}
	for name, m := range n.dependent {
		if f := c.spend(size); f != nil {
			return f
		}
		if _, ok := c.doc.find(i, name); ok {
			if f := c.value(m, i, own); f != nil {
				return f
			}
		}
	}
	return c.otherMembers(n, i, own)
}

// member checks one member; it is not known if it may not be there.
func (c *check) member(n *node, nameAt, member uint32, own *notes) (f *Fault, known bool) {
	if f := c.spend(1 + len(n.patterns)); f != nil {
		return f, true
	}
	if n.names != nil {
		if f := c.value(n.names, nameAt, nil); f != nil {
			return f.in(segment(c.doc.text(nameAt)) + " (name)"), true
		}
	}
	if n.properties == nil && n.patterns == nil && n.additional == nil {
		return nil, true
	}
	name := c.doc.text(nameAt)
	evaluated, f := c.memberByName(n, name, member)
	if !evaluated && n.additional != nil {
		if n.additional.refuse {
			return nil, false
		}
		evaluated, f = true, c.value(n.additional, member, nil)
	}
	if f != nil {
		return f.in(segment(name)), true
	}
	if evaluated {
		own.member(name)
	}
	return nil, true
}

// memberByName applies the schemas that are for a member by its name; evaluated
// says that there are any.
func (c *check) memberByName(n *node, name string, member uint32) (evaluated bool, f *Fault) {
	if m, ok := n.properties[name]; ok {
		if f := c.value(m, member, nil); f != nil {
			return true, f
		}
		evaluated = true
	} else if n.folded != nil {
		for _, m := range n.folded[fold(name)] {
			if f := c.value(m, member, nil); f != nil {
				return true, f
			}
			evaluated = true
		}
	}
	for _, p := range n.patterns {
		if p.pattern.MatchString(name) {
			if f := c.value(p.node, member, nil); f != nil {
				return true, f
			}
			evaluated = true
		}
	}
	return evaluated, nil
}

// fold is the same for names that encoding/json takes for each other.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}

// segment of a path; a name that is no word is quoted.
func segment(name string) string {
	for _, r := range name {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return "[" + strconv.Quote(name) + "]"
		}
	}
	return "." + name
}

func (c *check) required(n *node, i uint32) *Fault {
	if len(n.required) == 0 && len(n.dependentRequired) == 0 {
		return nil
	}
	if f := c.spend(int(c.doc.values[i].size) + len(n.required)); f != nil {
		return f
	}
	there := make(map[string]bool, c.doc.values[i].size)
	for name := range c.doc.members(i) {
		there[c.doc.text(name)] = true
	}
	var missing []string
	need := func(names []string) {
		for _, name := range names {
			if !there[name] {
				missing = append(missing, name)
			}
		}
	}
	need(n.required)
	for name, names := range n.dependentRequired {
		if there[name] {
			need(names)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	text, _ := json.Marshal(missing)
	return misfit("missing %s", cut(text))
}

// otherMembers checks the members that nothing has evaluated.
func (c *check) otherMembers(n *node, i uint32, own *notes) *Fault {
	if n.unevaluatedProperties == nil {
		return nil
	}
	for nameAt, member := range c.doc.members(i) {
		name := c.doc.text(nameAt)
		if own.members[name] {
			continue
		}
		if f := c.value(n.unevaluatedProperties, member, nil); f != nil {
			return f.in(segment(name))
		}
		own.member(name)
	}
	return nil
}

// find returns the member with the name.
func (d *Document) find(i uint32, name string) (uint32, bool) {
	for nameAt, member := range d.members(i) {
		if d.text(nameAt) == name {
			return member, true
		}
	}
	return 0, false
}
