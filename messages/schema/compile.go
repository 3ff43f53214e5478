package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Schema is a compiled JSON Schema. It may be used concurrently.
type Schema struct{ root *node }

// node is one schema. The zero value accepts anything.
type node struct {
	place  string
	refuse bool // the schema false
	ref    *node

	types    [object + 1]bool
	typed    bool
	integer  bool // of numbers, only whole ones
	wants    string
	enum     map[string]bool
	enumText string
	goType   string

	multipleOf                     *decimal
	minimum, maximum, above, below *decimal

	minLength, maxLength int
	pattern              *regexp.Regexp

	prefix                   []*node
	items, contains          *node
	minItems, maxItems       int
	minContains, maxContains int
	unique                   bool

	properties                   map[string]*node
	folded                       map[string][]*node // by their names whatever their case; nil without x-fold
	patterns                     []patternNode
	additional, names            *node
	required                     []string
	dependentRequired            map[string][]string
	dependent                    map[string]*node
	minProperties, maxProperties int

	allOf, anyOf, oneOf []*node
	not, when           *node
	then, otherwise     *node

	unevaluatedItems, unevaluatedProperties *node
}

type patternNode struct {
	pattern *regexp.Regexp
	node    *node
}

// none stands for a limit that is not given.
const none = -1

// compiler makes nodes, each place of the schema once.
type compiler struct {
	root    any
	id      string
	draft7  bool
	nodes   map[string]*node
	anchors map[string]string
}

// Compile makes a schema ready for use. The error says at which place it is no
// schema that can be used here, and why.
func Compile(schemaText string) (*Schema, error) {
	// A schema lies two levels below the one that it is in: {"items": {…}} one,
	// {"properties": {"a": {…}}} two.
	if Depth([]byte(schemaText)) > 2*DepthMax {
		return nil, fmt.Errorf("it is nested deeper than %d schemas (DepthMax)", DepthMax)
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(schemaText)))
	decoder.UseNumber()
	c := &compiler{nodes: map[string]*node{}, anchors: map[string]string{}}
	if err := decoder.Decode(&c.root); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("there is more after its end")
	}
	if err := c.dialect(); err != nil {
		return nil, err
	}
	if err := c.findAnchors(c.root, ""); err != nil {
		return nil, err
	}
	root, err := c.node(c.root, "")
	if err != nil {
		return nil, err
	}
	if err := c.endless(); err != nil {
		return nil, err
	}
	return &Schema{root: root}, nil
}

// dialect reads what the root says of the whole schema.
func (c *compiler) dialect() error {
	root, ok := c.root.(map[string]any)
	if !ok {
		return nil
	}
	if id, ok := root["$id"].(string); ok {
		c.id = strings.TrimSuffix(id, "#")
	}
	version, _ := root["$schema"].(string)
	switch strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(version, "http://"), "https://"), "#") {
	case "", "json-schema.org/draft/2020-12/schema":
	case "json-schema.org/draft-07/schema":
		c.draft7 = true
	default:
		return fmt.Errorf("$schema is %q: draft-07 and draft 2020-12 can be used", version)
	}
	return nil
}

// findAnchors notes the places that have a name, and refuses what changes the
// meaning of references.
func (c *compiler) findAnchors(v any, place string) error {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if err := c.findAnchors(item, place+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	case map[string]any:
		c.noteAnchors(v, place)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "enum" || key == "const" || key == "default" || key == "examples" {
				continue // these are no schemas
			}
			if err := c.findAnchors(v[key], place+"/"+escape(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// noteAnchors notes the names that a place has itself.
func (c *compiler) noteAnchors(v map[string]any, place string) {
	for _, key := range []string{"$anchor", "$dynamicAnchor"} {
		if name, ok := v[key].(string); ok {
			c.anchors[name] = place
		}
	}
	if id, ok := v["$id"].(string); ok && c.draft7 && strings.HasPrefix(id, "#") {
		c.anchors[id[1:]] = place
	}
}

var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

func escape(key string) string { return escaper.Replace(key) }

// node makes the node of a place, or returns the one that is made already.
func (c *compiler) node(v any, place string) (*node, error) {
	if n := c.nodes[place]; n != nil {
		return n, nil
	}
	if len(c.nodes) >= NodesMax {
		return nil, fmt.Errorf("it has more than NodesMax = %d schemas", NodesMax)
	}
	n := &node{
		place: place, minLength: none, maxLength: none, minItems: none, maxItems: none,
		minContains: none, maxContains: none, minProperties: none, maxProperties: none,
	}
	c.nodes[place] = n
	switch v := v.(type) {
	case bool:
		n.refuse = !v
		return n, nil
	case map[string]any:
		return n, (&keywords{compiler: c, node: n, of: v}).read()
	}
	return nil, fmt.Errorf("%s is neither an object nor true or false", at(place))
}

func at(place string) string {
	if place == "" {
		return "it"
	}
	return place
}

// percents are bytes as references write them.
var percents = regexp.MustCompile(`%[0-9a-fA-F]{2}`)

// resolve finds the place that a reference leads to.
func (c *compiler) resolve(ref string) (v any, place string, err error) {
	base, fragment, _ := strings.Cut(ref, "#")
	if base != "" && base != c.id {
		return nil, "", fmt.Errorf("the reference %q leads elsewhere: only those within the schema are followed", ref)
	}
	fragment = percents.ReplaceAllStringFunc(fragment, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 16, 8)
		return string([]byte{byte(n)})
	})
	if fragment != "" && fragment[0] != '/' {
		named, ok := c.anchors[fragment]
		if !ok {
			return nil, "", fmt.Errorf("the reference %q leads nowhere", ref)
		}
		fragment = named
	}
	v = c.root
	if fragment == "" {
		return v, "", nil
	}
	for key := range strings.SplitSeq(fragment[1:], "/") {
		key, ok := unescaper.Replace(key), false
		switch parent := v.(type) {
		case map[string]any:
			v, ok = parent[key]
		case []any:
			i, err := strconv.Atoi(key)
			if ok = err == nil && i >= 0 && i < len(parent); ok {
				v = parent[i]
			}
		}
		if !ok {
			return nil, "", fmt.Errorf("the reference %q leads nowhere", ref)
		}
		place += "/" + escape(key)
	}
	return v, place, nil
}

// inPlace are the schemas that a schema applies to the very value that it is
// applied to itself.
func (n *node) inPlace() []*node {
	all := slices.Concat(n.allOf, n.anyOf, n.oneOf, []*node{n.ref, n.not, n.when, n.then, n.otherwise})
	for _, name := range slices.Sorted(maps.Keys(n.dependent)) {
		all = append(all, n.dependent[name])
	}
	return slices.DeleteFunc(all, func(m *node) bool { return m == nil })
}

// endless refuses schemas that come back to themselves at the same value.
func (c *compiler) endless() error {
	const open, closed = 1, 2
	state := make(map[*node]int, len(c.nodes))
	var visit func(n *node) error
	visit = func(n *node) error {
		state[n] = open
		for _, m := range n.inPlace() {
			switch state[m] {
			case open:
				return fmt.Errorf("%s refers to itself without going into the value: a check would not end", at(m.place))
			case closed:
			default:
				if err := visit(m); err != nil {
					return err
				}
			}
		}
		state[n] = closed
		return nil
	}
	for _, place := range slices.Sorted(maps.Keys(c.nodes)) {
		if n := c.nodes[place]; state[n] == 0 {
			if err := visit(n); err != nil {
				return err
			}
		}
	}
	return nil
}
