package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/limpetrun/limpet/cluster"
)

// Source is where a value comes from. A greater one wins over a lesser one.
type Source int

// Sources.
const (
	Default Source = iota
	File
	Environment
	Flag
)

func (s Source) String() string { return [...]string{"default", "file", "environment", "flag"}[s] }

// Origin says where the value in force comes from.
type Origin struct {
	Source Source
	// Name of the flag, the variable, or the file with the line; "default".
	Name string
	// Path of the file that held the value itself, for a secret and the store.
	Path string
}

func (o Origin) String() string {
	if o.Path != "" {
		return o.Name + ", " + o.Path
	}
	return o.Name
}

// Origins of all settings, by their names.
type Origins map[string]Origin

// Register adds the flags of a scope, and no other's, with their defaults.
func Register(flags *pflag.FlagSet, v *Values, scope Scope) {
	for _, s := range Table {
		if s.Scope != scope {
			continue
		}
		help := s.Help + " [" + s.Env() + "]"
		switch field := s.field(v).(type) {
		case *string:
			flags.StringVar(field, s.Name, s.Default, help)
		case *[]string:
			flags.StringSliceVar(field, s.Name, elements(s.Default), help)
		case *bool:
			flags.BoolVar(field, s.Name, s.Default == "true", help)
		case *int:
			flags.IntVar(field, s.Name, sound(strconv.Atoi(s.Default)), help)
		case *float64:
			flags.Float64Var(field, s.Name, sound(strconv.ParseFloat(s.Default, 64)), help)
		case *time.Duration:
			flags.DurationVar(field, s.Name, sound(time.ParseDuration(s.Default)), help)
		}
	}
}

// sound is a default; one that is none is a fault of the table, which a test
// reads.
func sound[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Resolve fills what no flag gave. The flags are parsed and were registered
// with the same values: those of Shared, and with scope Server the server's too.
// It reports every fault as INVALID_ARGUMENT, with where it is.
func Resolve(flags *pflag.FlagSet, v *Values, scope Scope, getenv func(string) string) (Origins, error) {
	r := resolver{flags: flags, values: v, getenv: getenv, origins: Origins{}}
	for _, s := range Table {
		if s.Scope == Shared || scope == Server {
			r.settings = append(r.settings, s)
			r.fromFlagOrEnvironment(s)
		}
	}
	if len(r.faults) > 0 {
		return nil, invalid(r.faults)
	}
	f, err := readFile(v.Config)
	if err != nil {
		return nil, err
	}
	for _, s := range r.settings {
		r.fromFile(s, f)
	}
	for _, s := range r.settings {
		r.check(s)
		if s.from != "" {
			r.indirect(s)
		}
	}
	return r.origins, invalid(r.faults)
}

type resolver struct {
	flags    *pflag.FlagSet
	values   *Values
	getenv   func(string) string
	settings []Setting
	origins  Origins
	faults   []error
}

func (r *resolver) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// fromFlagOrEnvironment takes an empty variable for one that is not set.
func (r *resolver) fromFlagOrEnvironment(s Setting) {
	flag := r.flags.Lookup(s.Name)
	r.origins[s.Name] = Origin{Default, Default.String(), ""}
	if flag.Changed {
		r.origins[s.Name] = Origin{Flag, "--" + s.Name, ""}
		return
	}
	text := r.getenv(s.Env())
	if text == "" {
		return
	}
	if err := set(flag, text); err != nil {
		r.fault("%s: %w", s.Env(), err)
	}
	r.origins[s.Name] = Origin{Environment, s.Env(), ""}
}

func (r *resolver) fromFile(s Setting, f file) {
	node := f.nodes[s.Key()]
	if node == nil || s.noKey {
		return
	}
	where := fmt.Sprintf("%s:%d", f.path, node.Line)
	text, err := s.text(node)
	if r.origins[s.Name].Source < File && err == nil {
		r.origins[s.Name] = Origin{File, where, ""}
		err = set(r.flags.Lookup(s.Name), text)
	}
	if err != nil {
		r.fault("%s: %s: %w", where, s.Key(), err)
	}
}

// text of a node as it would be given to a flag. The error names no value.
func (s Setting) text(node *yaml.Node) (string, error) {
	list := s.Kind() == "list"
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return "", fmt.Errorf("has no value")
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind != yaml.SequenceNode || !list:
		return "", fmt.Errorf("is not %s", map[string]string{"list": "a list", "duration": "a duration", "text": "text", "number": "a number", "whole number": "a whole number"}[s.Kind()])
	}
	all := make([]string, len(node.Content))
	for i, element := range node.Content {
		if element.Kind != yaml.ScalarNode {
			return "", fmt.Errorf("is not a list of texts")
		}
		all[i] = element.Value
	}
	return strings.Join(all, ","), nil
}

// set parses as the flag does, and leaves the flag as not given.
func set(flag *pflag.Flag, text string) error {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.Replace(elements(text))
	}
	return flag.Value.Set(text)
}

// elements of a list with commas.
func elements(text string) []string {
	var all []string
	for element := range strings.SplitSeq(text, ",") {
		if element = strings.TrimSpace(element); element != "" {
			all = append(all, element)
		}
	}
	return all
}

// check that a value is one of those that are allowed.
func (r *resolver) check(s Setting) {
	var number float64
	switch field := s.field(r.values).(type) {
	case *int:
		number = float64(*field)
	case *float64:
		number = *field
	case *time.Duration:
		none := -time.Second
		if s.off {
			none = 0
		}
		if *field != none && (*field < s.shortest || *field > s.longest) {
			r.fault("%s: %s %s is neither %s nor from %s to %s", r.origins[s.Name], s.Name, *field, none, s.shortest, s.longest)
		}
		return
	default:
		number = -1
	}
	if number != -1 && !(number >= s.least && number <= s.most) {
		plain := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
		r.fault("%s: %s %s is neither -1 nor from %s to %s", r.origins[s.Name], s.Name, plain(number), plain(s.least), plain(s.most))
	}
	if text, ok := s.field(r.values).(*string); ok {
		r.checkText(s, *text)
	}
}

func (r *resolver) checkText(s Setting, text string) {
	if s.choices != nil && !slices.Contains(s.choices, text) {
		r.fault("%s: %s %q is none of %s", r.origins[s.Name], s.Name, text, strings.Join(s.choices, ", "))
	}
	if s.begins != "" && text != "" && !strings.HasPrefix(text, s.begins) {
		r.fault("%s: %s does not begin with %s", r.origins[s.Name], s.Name, s.begins)
	}
	if s.fault == nil {
		return
	}
	if fault := s.fault(text); fault != "" {
		r.fault("%s: %s %q %s", r.origins[s.Name], s.Name, text, fault)
	}
}

// indirect reads the file of a setting that has one, unless the setting itself
// was given with more force.
func (r *resolver) indirect(s Setting) {
	file, _ := find(s.from)
	path := file.field(r.values).(*string)
	direct, by := r.origins[s.Name], r.origins[file.Name]
	switch {
	case by.Source == Default:
	case by.Source == direct.Source:
		r.fault("both %s and %s are given: give one", direct, by)
	case by.Source < direct.Source:
		*path, r.origins[file.Name] = "", Origin{Default, Default.String(), ""}
	default:
		text, err := cluster.ReadSecretFile(*path)
		if err != nil {
			r.fault("%s: %w", by, err)
			return
		}
		*s.field(r.values).(*string) = text
		r.origins[s.Name] = Origin{by.Source, by.Name, *path}
	}
}
