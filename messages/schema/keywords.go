package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unitDigitsMax limits the digits of a multipleOf.
const unitDigitsMax = 1000

// keywords reads the keywords of one schema into its node.
type keywords struct {
	compiler *compiler
	node     *node
	of       map[string]any
	err      error
}

func (k *keywords) fail(key, format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf("%s/%s: %s", k.node.place, escape(key), fmt.Sprintf(format, args...))
	}
}

func (k *keywords) read() error {
	n := k.node
	for _, key := range []string{"$dynamicRef", "$recursiveRef"} {
		if _, ok := k.of[key]; ok {
			k.fail(key, "is not supported")
		}
	}
	if id, ok := k.of["$id"].(string); ok && n.place != "" && !strings.HasPrefix(id, "#") {
		k.fail("$id", "is not supported below the root")
	}
	k.reference()
	if n.ref != nil && k.compiler.draft7 {
		return k.err // draft 7 ignores what stands beside a reference
	}
	k.anyValue()
	k.numbers()
	n.minLength, n.maxLength = k.count("minLength"), k.count("maxLength")
	n.pattern = k.pattern("pattern")
	k.arrays()
	k.objects()
	n.allOf, n.anyOf, n.oneOf = k.list("allOf"), k.list("anyOf"), k.list("oneOf")
	n.not, n.when = k.schema("not"), k.schema("if")
	then, otherwise := k.schema("then"), k.schema("else")
	if n.when != nil {
		n.then, n.otherwise = then, otherwise
	}
	return k.err
}

func (k *keywords) reference() {
	ref, ok := k.of["$ref"]
	if !ok {
		return
	}
	name, ok := ref.(string)
	if !ok {
		k.fail("$ref", "is not a text")
		return
	}
	v, place, err := k.compiler.resolve(name)
	if err != nil {
		k.fail("$ref", "%s", err)
		return
	}
	k.node.ref = k.compiled(v, place)
}

func (k *keywords) compiled(v any, place string) *node {
	n, err := k.compiler.node(v, place)
	if err != nil && k.err == nil {
		k.err = err
	}
	return n
}

// schema is the one under a key, nil if there is none.
func (k *keywords) schema(key string) *node {
	v, ok := k.of[key]
	if !ok {
		return nil
	}
	return k.compiled(v, k.node.place+"/"+escape(key))
}

func (k *keywords) list(key string) []*node {
	v, ok := k.of[key]
	if !ok {
		return nil
	}
	all, ok := v.([]any)
	if !ok || len(all) == 0 {
		k.fail(key, "is not a list of schemas")
		return nil
	}
	nodes := make([]*node, len(all))
	for i, v := range all {
		nodes[i] = k.compiled(v, k.node.place+"/"+escape(key)+"/"+strconv.Itoa(i))
	}
	return nodes
}

func (k *keywords) named(key string) map[string]*node {
	v, ok := k.of[key]
	if !ok {
		return nil
	}
	all, ok := v.(map[string]any)
	if !ok {
		k.fail(key, "is not an object of schemas")
		return nil
	}
	nodes := make(map[string]*node, len(all))
	for name, v := range all {
		nodes[name] = k.compiled(v, k.node.place+"/"+escape(key)+"/"+escape(name))
	}
	return nodes
}

func (k *keywords) anyValue() {
	n := k.node
	k.types()
	if v, ok := k.of["enum"]; ok {
		all, ok := v.([]any)
		if !ok {
			k.fail("enum", "is not a list")
		}
		k.oneOfValues("enum", all)
	}
	if v, ok := k.of["const"]; ok {
		k.oneOfValues("const", []any{v})
	}
	if v, ok := k.of["x-go"]; ok {
		n.goType, _ = v.(string)
		if goTypes[n.goType] == nil {
			k.fail("x-go", "%v is not a type that is known", v)
		}
	}
}

func (k *keywords) types() {
	v, ok := k.of["type"]
	if !ok {
		return
	}
	names, isList := v.([]any)
	if !isList {
		names = []any{v}
	}
	n := k.node
	n.typed = true
	var wants []string
	for _, v := range names {
		name, _ := v.(string)
		t, known := typeNames[name]
		if !known {
			k.fail("type", "%v is not the name of a type", v)
		}
		n.types[t] = true
		wants = append(wants, name)
	}
	n.integer = slices.Contains(wants, "integer") && !slices.Contains(wants, "number")
	n.wants = strings.Join(wants, " or ")
}

var typeNames = map[string]kind{
	"null": null, "boolean": boolean, "integer": number, "number": number, "string": text, "array": array, "object": object,
}

// oneOfValues is for enum and const; both may be given.
func (k *keywords) oneOfValues(key string, all []any) {
	allowed := make(map[string]bool, len(all))
	var texts []string
	for _, v := range all {
		raw, err := json.Marshal(v)
		if err != nil {
			k.fail(key, "%s", err)
			return
		}
		d, err := Parse(raw)
		if err != nil {
			k.fail(key, "%s", err)
			return
		}
		allowed[string(d.canonical(nil, 0))] = true
		texts = append(texts, string(raw))
	}
	n := k.node
	if n.enum != nil {
		for v := range allowed {
			if !n.enum[v] {
				delete(allowed, v)
			}
		}
	}
	n.enum, n.enumText = allowed, cut(strings.Join(texts, ", "))
}

func (k *keywords) numbers() {
	n := k.node
	n.minimum, n.maximum = k.number("minimum"), k.number("maximum")
	n.above, n.below = k.number("exclusiveMinimum"), k.number("exclusiveMaximum")
	n.multipleOf = k.number("multipleOf")
	if m := n.multipleOf; m != nil && (m.sign() <= 0 || len(m.digits) > unitDigitsMax) {
		k.fail("multipleOf", "is not above zero, or has more than %d digits", unitDigitsMax)
	}
}

func (k *keywords) number(key string) *decimal {
	v, ok := k.of[key]
	if !ok {
		return nil
	}
	n, ok := v.(json.Number)
	if !ok {
		k.fail(key, "is not a number")
		return nil
	}
	d := parseDecimal(string(n))
	return &d
}

// count is a whole number from zero on, none if it is not given.
func (k *keywords) count(key string) int {
	d := k.number(key)
	if d == nil {
		return none
	}
	if d.sign() < 0 || !d.whole() || d.exponent > 9 {
		k.fail(key, "is not a whole number from 0 to 999999999")
		return none
	}
	n, _ := strconv.Atoi("0" + d.digits + strings.Repeat("0", int(d.exponent)-len(d.digits)))
	return n
}

func (k *keywords) pattern(key string) *regexp.Regexp {
	v, ok := k.of[key]
	if !ok {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		k.fail(key, "is not a text")
		return nil
	}
	return k.expression(key, text)
}

func (k *keywords) expression(key, text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	if err != nil {
		k.fail(key, "%s", err)
	}
	return re
}

func (k *keywords) arrays() {
	n := k.node
	if _, isList := k.of["items"].([]any); isList {
		// Draft 7, which many write whatever $schema says.
		n.prefix, n.items = k.list("items"), k.schema("additionalItems")
	} else {
		n.items = k.schema("items")
		if !k.compiler.draft7 {
			n.prefix = k.list("prefixItems")
		}
	}
	n.contains = k.schema("contains")
	n.minItems, n.maxItems = k.count("minItems"), k.count("maxItems")
	if !k.compiler.draft7 {
		n.minContains, n.maxContains = k.count("minContains"), k.count("maxContains")
		n.unevaluatedItems = k.schema("unevaluatedItems")
	}
	n.unique = k.flag("uniqueItems")
}

func (k *keywords) flag(key string) bool {
	v, ok := k.of[key]
	if !ok {
		return false
	}
	on, ok := v.(bool)
	if !ok {
		k.fail(key, "is neither true nor false")
	}
	return on
}

func (k *keywords) objects() {
	n := k.node
	n.properties = k.named("properties")
	if k.flag("x-fold") {
		n.folded = make(map[string][]*node, len(n.properties))
		for name, schema := range n.properties {
			n.folded[fold(name)] = append(n.folded[fold(name)], schema)
		}
	}
	for text, schema := range k.named("patternProperties") {
		n.patterns = append(n.patterns, patternNode{k.expression("patternProperties", text), schema})
	}
	slices.SortFunc(n.patterns, func(a, b patternNode) int { return strings.Compare(a.node.place, b.node.place) })
	n.additional, n.names = k.schema("additionalProperties"), k.schema("propertyNames")
	n.required = k.texts("required", k.of["required"])
	n.minProperties, n.maxProperties = k.count("minProperties"), k.count("maxProperties")
	k.dependencies("dependentRequired")
	k.dependencies("dependentSchemas")
	k.dependencies("dependencies") // draft 7 has both in one
	if !k.compiler.draft7 {
		n.unevaluatedProperties = k.schema("unevaluatedProperties")
	}
}

func (k *keywords) dependencies(key string) {
	v, ok := k.of[key]
	if !ok {
		return
	}
	all, ok := v.(map[string]any)
	if !ok {
		k.fail(key, "is not an object")
		return
	}
	n := k.node
	for name, v := range all {
		if _, isList := v.([]any); isList && key != "dependentSchemas" {
			if n.dependentRequired == nil {
				n.dependentRequired = map[string][]string{}
			}
			n.dependentRequired[name] = k.texts(key, v)
			continue
		}
		if n.dependent == nil {
			n.dependent = map[string]*node{}
		}
		n.dependent[name] = k.compiled(v, n.place+"/"+escape(key)+"/"+escape(name))
	}
}

func (k *keywords) texts(key string, v any) []string {
	if v == nil {
		return nil
	}
	all, ok := v.([]any)
	if !ok {
		k.fail(key, "is not a list of names")
	}
	var names []string
	for _, v := range all {
		name, ok := v.(string)
		if !ok {
			k.fail(key, "is not a list of names")
		}
		names = append(names, name)
	}
	return names
}
