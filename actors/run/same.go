package run

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
)

// CheckSame says where a state differs from another one of the same history: the live one,
// or one folded from the entries that are left of it (I20).
func (s *State) CheckSame(left *State) error {
	a, b := s.Clone(), left.Clone()
	for _, c := range []*State{a, b} {
		for i := range c.links {
			// Not known of a link whose entries were cut.
			c.links[i].carried = false
		}
	}
	if where := differs(reflect.ValueOf(*a), reflect.ValueOf(*b), "state"); where != "" {
		return fmt.Errorf("I20: %s", where)
	}
	return nil
}

// differs is where two values of one type differ, and how; empty for nowhere. What is
// empty is the same as what is nil.
func differs(a, b reflect.Value, path string) string {
	if same, ok := sameAsWhole(a, b); ok {
		return differsIf(!same, a, b, path)
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return differsIf(a.IsNil() != b.IsNil(), a, b, path)
		}
		return differs(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		return differsIn(a.NumField(), func(i int) string { return differs(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name) })
	case reflect.Slice:
		if a.Len() != b.Len() {
			return differsIf(true, a, b, path)
		}
		return differsIn(a.Len(), func(i int) string { return differs(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i)) })
	case reflect.Map:
		keys := a.MapKeys()
		if a.Len() != b.Len() || slices.ContainsFunc(keys, func(key reflect.Value) bool { return !b.MapIndex(key).IsValid() }) {
			return differsIf(true, a, b, path)
		}
		return differsIn(len(keys), func(i int) string {
			return differs(a.MapIndex(keys[i]), b.MapIndex(keys[i]), fmt.Sprintf("%s[%v]", path, keys[i]))
		})
	}
	return differsIf(!a.Equal(b), a, b, path)
}

// sameAsWhole compares what is not compared part by part: messages and times.
func sameAsWhole(a, b reflect.Value) (same, ok bool) {
	if a.Type() == reflect.TypeFor[time.Time]() && !a.CanInterface() {
		return fmt.Sprint(a) == fmt.Sprint(b), true
	}
	if !a.CanInterface() {
		return false, false
	}
	switch x := a.Interface().(type) {
	case proto.Message:
		return proto.Equal(x, b.Interface().(proto.Message)), true
	case time.Time:
		return x.Equal(b.Interface().(time.Time)), true
	}
	return false, false
}

func differsIn(n int, differs func(i int) string) (where string) {
	for i := 0; i < n && where == ""; i++ {
		where = differs(i)
	}
	return where
}

func differsIf(differ bool, a, b reflect.Value, path string) string {
	if differ {
		return fmt.Sprintf("%s is %v and %v", path, a, b)
	}
	return ""
}
