package schema

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Fault says where a document does not fit a schema, and why.
type Fault struct {
	// Path from the whole document, which is $, to the value.
	Path string
	// Text says what is wanted there.
	Text string
	// OverBudget: the check was broken off, the document may fit.
	OverBudget bool
}

func (f *Fault) Error() string { return f.Path + ": " + f.Text }

// depthMax limits how many schemas are applied within each other: the stack is
// bounded by it.
const depthMax = 50_000

// Check returns nil for a document that fits, else a *Fault.
func (s *Schema) Check(d *Document) error {
	if f := s.fault(d, CheckCostMax); f != nil {
		f.Path = "$" + f.Path
		return f
	}
	return nil
}

func (s *Schema) fault(d *Document, cost int) *Fault {
	c := &check{doc: d, left: cost}
	return c.value(s.root, 0, nil)
}

// check is one check of a document.
type check struct {
	doc   *Document
	left  int
	depth int
}

// notes are what has been evaluated of a value: its members, or its items from
// the first on and those that contains has found.
type notes struct {
	all     bool
	members map[string]bool
	first   int
	found   map[int]bool
}

// within is for the schemas that are applied to the same value; nil if nobody
// asks.
func (n *notes) within() *notes {
	if n == nil {
		return nil
	}
	return &notes{}
}

func (n *notes) add(m *notes) {
	if n == nil || m == nil {
		return
	}
	n.all = n.all || m.all
	n.first = max(n.first, m.first)
	for name := range m.members {
		n.member(name)
	}
	for i := range m.found {
		n.item(i)
	}
}

func (n *notes) member(name string) {
	if n == nil {
		return
	}
	if n.members == nil {
		n.members = map[string]bool{}
	}
	n.members[name] = true
}

func (n *notes) item(i int) {
	if n == nil {
		return
	}
	if n.found == nil {
		n.found = map[int]bool{}
	}
	n.found[i] = true
}

func misfit(format string, args ...any) *Fault { return &Fault{Text: fmt.Sprintf(format, args...)} }

// spend takes from what the check may cost.
func (c *check) spend(n int) *Fault {
	c.left -= n
	if c.left < 0 || c.depth > depthMax {
		return &Fault{OverBudget: true, Text: fmt.Sprintf("the check takes too long: it costs more than CheckCostMax = %d", CheckCostMax)}
	}
	return nil
}

// value applies a schema to a value. notes, if not nil, is told what was
// evaluated.
func (c *check) value(n *node, i uint32, told *notes) *Fault {
	c.depth++
	defer func() { c.depth-- }()
	if f := c.spend(1); f != nil {
		return f
	}
	if n.refuse {
		return misfit("nothing is allowed here")
	}
	own := told.within()
	if own == nil && (n.unevaluatedItems != nil || n.unevaluatedProperties != nil) {
		own = &notes{}
	}
	if f := c.alone(n, i); f != nil {
		return f
	}
	if f := c.combined(n, i, own); f != nil {
		return f
	}
	var f *Fault
	switch c.doc.values[i].kind {
	case array:
		f = c.array(n, i, own)
	case object:
		f = c.object(n, i, own)
	}
	if f == nil {
		told.add(own)
	}
	return f
}

// alone checks a value without what is in it.
func (c *check) alone(n *node, i uint32) *Fault {
	v := c.doc.values[i]
	if n.typed {
		fits := n.types[v.kind]
		if fits && v.kind == number && n.integer {
			fits = parseDecimal(string(c.doc.raw(i))).whole()
		}
		if !fits {
			return misfit("want %s, got %s", n.wants, c.typeName(i))
		}
	}
	if n.enum != nil {
		if f := c.spend(int(v.end-v.start) / 8); f != nil {
			return f
		}
		if !n.enum[string(c.doc.canonical(nil, i))] {
			return misfit("enum: %s is not one of %s", c.quote(i), n.enumText)
		}
	}
	var f *Fault
	switch v.kind {
	case number:
		f = c.number(n, i)
	case text:
		f = c.text(n, i)
	}
	if f == nil && n.goType != "" {
		f = c.goType(n, i)
	}
	return f
}

// goType checks that encoding/json can decode the value.
func (c *check) goType(n *node, i uint32) *Fault {
	raw := c.doc.raw(i)
	if f := c.spend(len(raw) / 16); f != nil {
		return f
	}
	if err := goTypes[n.goType](raw); err != nil {
		name, _, _ := strings.Cut(strings.TrimPrefix(n.goType, "key:"), ",")
		return misfit("%s is not what a Go %s can be read from", c.quote(i), name)
	}
	return nil
}

func (c *check) typeName(i uint32) string {
	v := c.doc.values[i]
	if v.kind == number && parseDecimal(string(c.doc.raw(i))).whole() {
		return "integer"
	}
	return v.kind.String()
}

// quotedMax cuts what a fault quotes of a document or a schema.
const quotedMax = 240

func (c *check) quote(i uint32) string { return cut(c.doc.raw(i)) }

func cut[T string | []byte](text T) string {
	if len(text) <= quotedMax {
		return string(text)
	}
	half := quotedMax / 2
	return strings.ToValidUTF8(string(text[:half]), "") + " … " + strings.ToValidUTF8(string(text[len(text)-half:]), "")
}

func (c *check) number(n *node, i uint32) *Fault {
	if !n.limitsNumbers() {
		return nil
	}
	if f := c.spend(len(c.doc.raw(i)) / 4); f != nil {
		return f
	}
	d, raw := parseDecimal(string(c.doc.raw(i))), c.quote(i)
	switch {
	case n.minimum != nil && d.compare(*n.minimum) < 0:
		return misfit("minimum: %s is less than %s", raw, n.minimum.plain())
	case n.maximum != nil && d.compare(*n.maximum) > 0:
		return misfit("maximum: %s is greater than %s", raw, n.maximum.plain())
	case n.above != nil && d.compare(*n.above) <= 0:
		return misfit("exclusiveMinimum: %s is not above %s", raw, n.above.plain())
	case n.below != nil && d.compare(*n.below) >= 0:
		return misfit("exclusiveMaximum: %s is not below %s", raw, n.below.plain())
	case n.multipleOf != nil && !d.multipleOf(*n.multipleOf):
		return misfit("multipleOf: %s is not a multiple of %s", raw, n.multipleOf.plain())
	}
	return nil
}

func (n *node) limitsNumbers() bool {
	return n.minimum != nil || n.maximum != nil || n.above != nil || n.below != nil || n.multipleOf != nil
}

func (c *check) text(n *node, i uint32) *Fault {
	if n.minLength == none && n.maxLength == none && n.pattern == nil {
		return nil
	}
	s := c.doc.text(i)
	if f := c.spend(len(s) / 4); f != nil {
		return f
	}
	length := utf8.RuneCountInString(s)
	switch {
	case n.minLength != none && length < n.minLength:
		return misfit("minLength: %s has %d characters, fewer than %d", c.quote(i), length, n.minLength)
	case n.maxLength != none && length > n.maxLength:
		return misfit("maxLength: %s has %d characters, more than %d", c.quote(i), length, n.maxLength)
	case n.pattern != nil && !n.pattern.MatchString(s):
		return misfit("pattern: %s does not match %s", c.quote(i), n.pattern)
	}
	return nil
}

// combined applies the schemas that are about the same value.
func (c *check) combined(n *node, i uint32, own *notes) *Fault {
	if n.ref != nil {
		if f := c.value(n.ref, i, own); f != nil {
			return f
		}
	}
	for _, m := range n.allOf {
		if f := c.value(m, i, own); f != nil {
			return f
		}
	}
	if f := c.anyOf(n, i, own); f != nil {
		return f
	}
	if f := c.oneOf(n, i, own); f != nil {
		return f
	}
	if n.not != nil {
		if f := c.value(n.not, i, nil); f == nil {
			return misfit("not: it fits %s", at(n.not.place))
		} else if f.OverBudget {
			return f
		}
	}
	if n.when == nil {
		return nil
	}
	next := n.then
	if f := c.value(n.when, i, own); f != nil {
		if f.OverBudget {
			return f
		}
		next = n.otherwise
	}
	if next == nil {
		return nil
	}
	return c.value(next, i, own)
}

func (c *check) anyOf(n *node, i uint32, own *notes) *Fault {
	var last *Fault
	fits := len(n.anyOf) == 0
	for _, m := range n.anyOf {
		f := c.value(m, i, own)
		switch {
		case f == nil:
			fits = true
		case f.OverBudget:
			return f
		default:
			last = f
		}
		if fits && own == nil {
			break // nobody asks what the others evaluate
		}
	}
	if fits {
		return nil
	}
	last.Text = fmt.Sprintf("anyOf: it fits none of %d; the last: %s", len(n.anyOf), last.Text)
	return last
}

func (c *check) oneOf(n *node, i uint32, own *notes) *Fault {
	var last *Fault
	fits := 0
	for _, m := range n.oneOf {
		f := c.value(m, i, own)
		switch {
		case f == nil:
			fits++
		case f.OverBudget:
			return f
		default:
			last = f
		}
		if fits > 1 {
			return misfit("oneOf: it fits more than one of %d", len(n.oneOf))
		}
	}
	if fits == 1 || len(n.oneOf) == 0 {
		return nil
	}
	last.Text = fmt.Sprintf("oneOf: it fits none of %d; the last: %s", len(n.oneOf), last.Text)
	return last
}
