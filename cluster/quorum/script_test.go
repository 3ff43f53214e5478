package quorum

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs testdata/*.txt. Record what changed with
// go test ./cluster/quorum -run TestScripts -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := &script{filter: New("a"), now: time.Unix(1_000_000, 0)}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
		})
	}
}

// script drives the filter of server a. Members whose names begin with w are
// workers.
type script struct {
	filter *Filter
	round  *Round
	now    time.Time
}

func membersOf(names []string) []Member {
	members := make([]Member, len(names))
	for i, name := range names {
		members[i] = Member{Name: name, Server: !strings.HasPrefix(name, "w"), Address: name + ":1", Loss: true}
	}
	return members
}

// args returns the values of an argument, nil without it.
func args(d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func span(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	vals := args(d, key)
	if len(vals) == 0 {
		return 0
	}
	v, err := time.ParseDuration(vals[0])
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.now = s.now.Add(span(t, d, "after"))
	switch d.Cmd {
	case "miss":
		held, due := s.filter.Hold(membersOf(args(d, "members")), !d.HasArg("alone"))
		return fmt.Sprintf("held: %v due: %v\n", held, due)
	case "recheck":
		s.filter.Recheck()
		return ""
	case "round":
		s.round = s.filter.Begin(s.now, args(d, "knows"), membersOf(args(d, "hears")))
		if !s.round.Asks {
			return "asks nobody\n"
		}
		var asked []string
		for _, m := range s.round.Asked(args(d, "silent")) {
			asked = append(asked, m.Name)
		}
		return fmt.Sprintf("asks %v about %v\n", asked, s.round.Missing())
	case "answer":
		s.round.Answered(membersOf(args(d, "from"))[0], Answer{
			Silent: d.HasArg("silent"), Known: !d.HasArg("stranger") && !d.HasArg("silent"), Alive: args(d, "alive"), Promised: span(t, d, "promised"), HasStore: d.HasArg("has-store")})
		return fmt.Sprintf("enough: %v\n", s.round.Enough())
	case "judge":
		return verdictName(s.round.Judge()) + "\n"
	case "heartbeat":
		if !s.filter.HeartbeatDue(s.now, s.round) {
			return "not due\n"
		}
		serial, mine := s.filter.Beat(s.now, s.round)
		return fmt.Sprintf("serial %d, reaches %v and %d workers\n", serial, mine.Servers, mine.Workers)
	case "unread":
		s.filter.Unread(s.now, s.round)
		return ""
	case "read":
		return s.read(d)
	case "conclude":
		gone := s.round.Gone()
		if d.HasArg("leased") {
			gone = nil
		}
		next := s.filter.Conclude(s.round, gone)
		without := ""
		if s.filter.WithoutStore() {
			without = " without store"
		}
		return fmt.Sprintf("gone: %v cut off: %v%s next: %v\n", gone, s.filter.CutOff(), without, next)
	case "has-store":
		return fmt.Sprintf("%v\n", s.filter.HasStore(s.now))
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// read takes lines "server serial=1 age=1s reaches=a,b workers=2 passive".
func (s *script) read(d *datadriven.TestData) string {
	var beats []Heartbeat
	for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
		if line == "" {
			continue
		}
		fields := strings.Fields(line)
		b := Heartbeat{Server: fields[0], Address: fields[0] + ":1"}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "serial":
				_, _ = fmt.Sscan(value, &b.Serial)
			case "age":
				b.Age, _ = time.ParseDuration(value)
			case "reaches":
				b.Partition.Servers = strings.Split(value, ",")
			case "workers":
				_, _ = fmt.Sscan(value, &b.Partition.Workers)
			case "passive":
				b.Passive = true
			case "replaced":
				b.Replaced = true
			}
		}
		beats = append(beats, b)
	}
	s.filter.Read(s.now, s.round, beats)
	var rivals []string
	for _, r := range s.filter.Rivals() {
		rivals = append(rivals, r.Name)
	}
	return fmt.Sprintf("rivals: %v verdict: %s\n", rivals, verdictName(s.round.Verdict()))
}

func verdictName(v Verdict) string { return [...]string{"wait", "gone", "cut off"}[v] }
