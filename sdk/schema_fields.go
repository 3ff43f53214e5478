package sdk

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// jsonField is a field of a struct as encoding/json sees it.
type jsonField struct {
	name string
	typ  reflect.Type
	// optional: encoding/json may leave it out.
	optional bool
	// quoted: the option string applies.
	quoted bool
	// unsettable: encoding/json cannot read it, for it lies behind an embedded
	// pointer to a struct that is not exported.
	unsettable bool

	tagged bool
	index  []int
}

// jsonFields returns the fields of a struct, those of embedded structs included,
// by the rules of encoding/json: of fields with one name the least deep one
// counts, of those the one with a tag, and none if that is not one alone.
func jsonFields(t reflect.Type) []jsonField {
	var fields []jsonField
	next := []jsonField{{typ: t}}
	var count, nextCount map[reflect.Type]int
	visited := map[reflect.Type]bool{}
	for len(next) > 0 {
		current := next
		next = nil
		count, nextCount = nextCount, map[reflect.Type]int{}
		for _, parent := range current {
			if visited[parent.typ] {
				continue
			}
			visited[parent.typ] = true
			for i := range parent.typ.NumField() {
				field, embedded, ok := readField(parent, i)
				switch {
				case !ok:
				case !embedded:
					fields = append(fields, field)
					if count[parent.typ] > 1 {
						// The type is embedded twice at this depth: so is the
						// field, and the two hide each other.
						fields = append(fields, field)
					}
				default:
					if nextCount[field.typ]++; nextCount[field.typ] == 1 {
						next = append(next, field)
					}
				}
			}
		}
	}
	return dominant(fields)
}

// readField is a field of a struct, or an embedded struct to look into; false
// if encoding/json does not see it.
func readField(parent jsonField, i int) (f jsonField, embedded, ok bool) {
	sf := parent.typ.Field(i)
	inner := sf.Type
	if inner.Name() == "" && inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	if !sf.IsExported() && (!sf.Anonymous || inner.Kind() != reflect.Struct) {
		return f, false, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return f, false, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validName(name) {
		name = ""
	}
	f = jsonField{
		name: cmp.Or(name, sf.Name), typ: sf.Type, tagged: name != "", index: append(slices.Clone(parent.index), i),
		optional: parent.optional, unsettable: parent.unsettable,
	}
	if name == "" && sf.Anonymous && inner.Kind() == reflect.Struct {
		f.typ = inner
		if sf.Type.Kind() == reflect.Pointer {
			f.optional, f.unsettable = true, f.unsettable || !sf.IsExported()
		}
		return f, true, true
	}
	f.read(options, inner.Kind())
	return f, false, true
}

// read takes in the options of a tag; kind is that of the field's value.
func (f *jsonField) read(options string, kind reflect.Kind) {
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty", "omitzero":
			f.optional = true
		case "string":
			f.quoted = kind >= reflect.Bool && kind <= reflect.Float64 || kind == reflect.String
		}
	}
}

// validName says whether encoding/json takes a name from a tag.
func validName(name string) bool {
	for _, r := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

func dominant(fields []jsonField) []jsonField {
	slices.SortFunc(fields, func(a, b jsonField) int {
		tagged := 0
		if a.tagged != b.tagged {
			tagged = 1
			if a.tagged {
				tagged = -1
			}
		}
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(len(a.index), len(b.index)), tagged, slices.Compare(a.index, b.index))
	})
	var out []jsonField
	for i := 0; i < len(fields); {
		first, same := fields[i], 1
		for i+same < len(fields) && fields[i+same].name == first.name {
			same++
		}
		if same == 1 || len(fields[i+1].index) > len(first.index) || fields[i+1].tagged != first.tagged {
			out = append(out, first)
		}
		i += same
	}
	slices.SortFunc(out, func(a, b jsonField) int { return slices.Compare(a.index, b.index) })
	return out
}
