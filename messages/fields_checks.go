package messages

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What the tables of rules mean for each type of message is found out once: every
// message between nodes is checked on its arrival. So a check looks at the fields
// that have a rule and at nothing else, and allocates nothing while all is well.

// checks are what is to be looked at in a type of message.
type checks []check

// check is for a field that has a rule, or messages in it, or both.
type check struct {
	field protoreflect.FieldDescriptor
	rule  FieldRule
	// within is for the messages in the field; nil if they are not looked at.
	within *checks

	// index is that of the field in the Go struct, or of its oneof. holder is the
	// type of the struct in which a oneof has the field, absent the field's value
	// while the oneof has another.
	index  int
	holder reflect.Type
	absent reflect.Value
}

var (
	// checksByType has *checks by the reflect.Type of a message.
	checksByType sync.Map
	// compiling is held while some are added.
	compiling sync.Mutex
)

// checksOf returns the checks of a message.
func checksOf(m proto.Message) *checks {
	if known, ok := checksByType.Load(reflect.TypeOf(m)); ok {
		return known.(*checks)
	}
	compiling.Lock()
	defer compiling.Unlock()
	made := map[reflect.Type]*checks{}
	all := compile(m.ProtoReflect().Type(), made)
	for t, c := range made {
		checksByType.Store(t, c)
	}
	return all
}

// compile makes the checks of a type of message and of those in it. made has those
// that are begun: a message may be in itself.
func compile(t protoreflect.MessageType, made map[reflect.Type]*checks) *checks {
	sample := t.New()
	goType := reflect.TypeOf(sample.Interface())
	if begun, ok := made[goType]; ok {
		return begun
	}
	all := &checks{}
	made[goType] = all
	for i := range t.Descriptor().Fields().Len() {
		field := t.Descriptor().Fields().Get(i)
		rule, within := RuleOf(field)
		c := check{field: field, rule: rule}
		if within {
			value := sample.NewField(field)
			if field.IsList() {
				value = value.List().NewElement()
			}
			c.within = compile(value.Message().Type(), made)
		}
		if rule.Given() || within {
			c.locate(sample)
			*all = append(*all, c)
		}
	}
	return all
}

// RuleOf returns the rule of a field, and whether messages in it are looked at.
func RuleOf(field protoreflect.FieldDescriptor) (rule FieldRule, within bool) {
	rule = fieldRules[string(field.FullName())]
	if !onWire(field.ContainingMessage()) {
		return rule, field.Message() != nil && field.IsList()
	}
	if !rule.Given() {
		rule = wireRule(field)
	}
	return rule, field.Message() != nil && !field.IsMap() && onWire(field.Message())
}

// locate finds the field in the Go struct, whose tags have the numbers of fields and
// the names of oneofs.
func (c *check) locate(sample protoreflect.Message) {
	oneof, key, want := c.field.ContainingOneof(), "protobuf", strconv.Itoa(int(c.field.Number()))
	if oneof != nil {
		key, want = "protobuf_oneof", string(oneof.Name())
		sample.Set(c.field, sample.NewField(c.field))
	}
	m := reflect.ValueOf(sample.Interface()).Elem()
	for c.index = range m.NumField() {
		tag := m.Type().Field(c.index).Tag.Get(key)
		if oneof == nil {
			_, tag, _ = strings.Cut(tag, ",")
			tag, _, _ = strings.Cut(tag, ",")
		}
		if tag == want {
			break
		}
	}
	if oneof != nil {
		holder := m.Field(c.index).Elem()
		c.holder, c.absent = holder.Type(), reflect.Zero(holder.Elem().Field(0).Type())
	}
}

// in returns the value of the field in the struct of a message.
func (c *check) in(m reflect.Value) reflect.Value {
	v := m.Field(c.index)
	switch {
	case c.holder == nil:
		return v
	case !v.IsNil() && v.Elem().Type() == c.holder:
		return v.Elem().Elem().Field(0)
	}
	return c.absent
}

// faults are what is wrong with a message, nil counts as an empty one. as gives other
// names to fields; it may be nil.
func (all *checks) faults(m reflect.Value, as func(field, words string) string) (faults []error) {
	if m.IsNil() {
		m = reflect.New(m.Type().Elem())
	}
	m = m.Elem()
	for i := range *all {
		c := &(*all)[i]
		value := c.in(m)
		words := ""
		if as != nil && c.rule.Given() {
			words = as(string(c.field.FullName()), c.rule.words)
		}
		if err := c.rule.Check(value, words); err != nil {
			faults = append(faults, err)
			continue
		}
		switch {
		case c.within == nil || len(*c.within) == 0:
		case !c.field.IsList():
			if !value.IsNil() {
				faults = append(faults, c.within.faults(value, as)...)
			}
		default:
			for j := range value.Len() {
				if found := c.within.faults(value.Index(j), as); len(found) > 0 {
					return append(faults, placed(fmt.Sprintf("%s[%d]: ", c.field.Name(), j), found)...)
				}
			}
		}
	}
	return faults
}
