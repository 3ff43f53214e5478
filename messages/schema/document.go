package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// kind of a JSON value.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	array
	object
)

func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

// value is one value of a document: where its text is, and where the values
// within it are. Members of an object are two values each, a text and a value.
type value struct {
	kind       kind
	start, end uint32
	// size is the number of values or members.
	size uint32
	// next is the index of the first value after it and all within it.
	next uint32
}

// Document is a JSON document: its text, and an index of the values in it.
type Document struct {
	data   []byte
	values []value
}

// Valid returns what is wrong with a document: the error of encoding/json, or
// that it is nested too deep.
func Valid(data []byte) error {
	if depth := Depth(data); depth > DocumentDepthMax {
		return fmt.Errorf("it is nested %d deep, more than DocumentDepthMax = %d", depth, DocumentDepthMax)
	}
	if !json.Valid(data) {
		var v json.RawMessage
		return json.Unmarshal(data, &v)
	}
	return nil
}

// Parse indexes a document. Its text stays in use. The errors are those of Valid.
func Parse(data []byte) (*Document, error) {
	if err := Valid(data); err != nil {
		return nil, err
	}
	d := &Document{data: data}
	if kept, ok := indexes.Get().(*[]value); ok {
		d.values = (*kept)[:0]
	}
	d.values = slices.Grow(d.values, valuesAtMost(data))
	p := parser{doc: d}
	p.value()
	return d, nil
}

// indexes are those of documents that are done with: one may take twenty times the
// bytes of its document.
var indexes sync.Pool

// Done lets the index be used for another document; this one must not be used
// any more.
func (d *Document) Done() {
	kept := d.values
	d.values = nil
	indexes.Put(&kept)
}

// valuesAtMost is how many values a document has, or a few more: each but the
// first one follows a character of these.
func valuesAtMost(data []byte) int {
	n := 1
	for _, c := range data {
		if c == ',' || c == ':' || c == '[' || c == '{' {
			n++
		}
	}
	return n
}

// Depth returns how deep arrays and objects are nested in a text that may be
// JSON. It allocates nothing.
func Depth(data []byte) int {
	depth, most, inText := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '[' || c == '{':
			depth++
			most = max(most, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return most
}

// parser indexes a text that is known to be JSON.
type parser struct {
	doc *Document
	at  int
}

func (p *parser) space() byte {
	for {
		switch c := p.doc.data[p.at]; c {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return c
		}
	}
}

func (p *parser) value() {
	c := p.space()
	i := len(p.doc.values)
	p.doc.values = append(p.doc.values, value{start: uint32(p.at)})
	k, size := null, uint32(0)
	switch c {
	case '{':
		k, size = object, p.members('}')
	case '[':
		k, size = array, p.members(']')
	case '"':
		k = text
		p.text()
	case 'n':
		p.at += len("null")
	case 't':
		k = boolean
		p.at += len("true")
	case 'f':
		k = boolean
		p.at += len("false")
	default:
		k = number
		for p.at < len(p.doc.data) && strings.IndexByte("+-.0123456789eE", p.doc.data[p.at]) >= 0 {
			p.at++
		}
	}
	v := &p.doc.values[i]
	v.kind, v.end, v.size, v.next = k, uint32(p.at), size, uint32(len(p.doc.values))
}

// members reads an array or an object to its closing character.
func (p *parser) members(closing byte) (size uint32) {
	p.at++
	for {
		switch p.space() {
		case closing:
			p.at++
			return size
		case ',':
			p.at++
		}
		p.value()
		if closing == '}' {
			p.space()
			p.at++ // the colon
			p.value()
		}
		size++
	}
}

func (p *parser) text() {
	for p.at++; p.doc.data[p.at] != '"'; p.at++ {
		if p.doc.data[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
}

// raw is the text of a value.
func (d *Document) raw(i uint32) []byte {
	v := d.values[i]
	return d.data[v.start:v.end]
}

// text is what a string stands for.
func (d *Document) text(i uint32) string {
	raw := d.raw(i)
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is JSON
	return s
}

// items yields the values of an array with their numbers.
func (d *Document) items(i uint32) func(yield func(n int, item uint32) bool) {
	return func(yield func(int, uint32) bool) {
		v := d.values[i]
		at := i + 1
		for n := range int(v.size) {
			if !yield(n, at) {
				return
			}
			at = d.values[at].next
		}
	}
}

// members yields the members of an object: their names and values.
func (d *Document) members(i uint32) func(yield func(name, member uint32) bool) {
	return func(yield func(uint32, uint32) bool) {
		v := d.values[i]
		at := i + 1
		for range v.size {
			if !yield(at, at+1) {
				return
			}
			at = d.values[at+1].next
		}
	}
}

// canonical writes a value so that two values are equal if their texts are.
func (d *Document) canonical(out []byte, i uint32) []byte {
	switch d.values[i].kind {
	case number:
		return append(out, parseDecimal(string(d.raw(i))).String()...)
	case text:
		return strconv.AppendQuote(out, d.text(i))
	case array:
		out = append(out, '[')
		for _, item := range d.items(i) {
			out = append(d.canonical(out, item), ',')
		}
		return append(out, ']')
	case object:
		last := make(map[string]uint32, d.values[i].size)
		for name, member := range d.members(i) {
			last[d.text(name)] = member
		}
		names := make([]string, 0, len(last))
		for name := range last {
			names = append(names, name)
		}
		slices.Sort(names)
		out = append(out, '{')
		for _, name := range names {
			out = append(strconv.AppendQuote(out, name), ':')
			out = append(d.canonical(out, last[name]), ',')
		}
		return append(out, '}')
	}
	return append(out, d.raw(i)...)
}
