package quorum

import (
	"strings"
	"testing"
)

func namesOf(list string) []string { return strings.Fields(list) }

func TestJudge(t *testing.T) {
	sees := func(name, servers string, workers int) Rival {
		return Rival{name, "", Partition{namesOf(servers), workers}}
	}
	for _, c := range []struct {
		what string
		evidence
		want Verdict
	}{
		{"one of three has gone", evidence{mine: Partition{namesOf("a b"), 0}, known: namesOf("a b c")}, Gone},
		{"most answer although the store does not", evidence{mine: Partition{namesOf("a b"), 0}, known: namesOf("a b c"), read: false}, Gone},
		{"the other of two has gone", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b"), read: true}, Gone},
		{"the others of three have gone", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b c"), read: true}, Gone},
		{"the store does not answer", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b")}, Wait},
		{"one is silent and not declared gone", evidence{mine: Partition{namesOf("a"), 3}, known: namesOf("a b"), read: true, silent: true}, Wait},
		{"two others live", evidence{mine: Partition{namesOf("a"), 9}, known: namesOf("a b c"), read: true,
			rivals: []Rival{sees("b", "b c", 0), sees("c", "b c", 0)}}, CutOff},
		{"the other of two lives, and has not noticed", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b"), read: true, patience: true,
			rivals: []Rival{sees("b", "a b", 4)}}, Wait},
		{"it does not notice", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b"), read: true,
			rivals: []Rival{sees("b", "a b", 4)}}, CutOff},
		{"the other of two has fewer workers", evidence{mine: Partition{namesOf("a"), 4}, known: namesOf("a b"), read: true,
			rivals: []Rival{sees("b", "b", 1)}}, Gone},
		{"the other of two has more workers", evidence{mine: Partition{namesOf("a"), 1}, known: namesOf("a b"), read: true,
			rivals: []Rival{sees("b", "b", 4)}}, CutOff},
		{"the first name of two equals", evidence{mine: Partition{namesOf("a"), 2}, known: namesOf("a b"), read: true,
			rivals: []Rival{sees("b", "b", 2)}}, Gone},
		{"a server that starts alone while others live", evidence{mine: Partition{namesOf("a"), 0}, read: true,
			rivals: []Rival{sees("b", "b c", 2), sees("c", "b c", 2)}}, CutOff},
		{"a server that others do not know", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b"), read: true,
			rivals: []Rival{sees("b", "b", 3)}}, CutOff},
		{"one of two rivals has noticed", evidence{mine: Partition{namesOf("a"), 0}, known: namesOf("a b c"), read: true, patience: true,
			rivals: []Rival{sees("b", "a b c", 3), sees("c", "b c", 3)}}, CutOff},
	} {
		c.self = "a"
		if got := c.judge(); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// However two servers that do not reach each other see the cluster, one of them
// goes on and the other yields.
func TestPartitionsComeToTheSameEnd(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	for cut := 1; cut < 1<<len(all)-1; cut++ {
		for workersLeft := range 4 {
			for workersRight := range 4 {
				left, right := Partition{nil, workersLeft}, Partition{nil, workersRight}
				for i, name := range all {
					if cut&(1<<i) != 0 {
						left.Servers = append(left.Servers, name)
					} else {
						right.Servers = append(right.Servers, name)
					}
				}
				of := func(mine, other Partition) Verdict {
					e := evidence{self: mine.Servers[0], mine: mine, known: all, read: true}
					for _, name := range other.Servers {
						e.rivals = append(e.rivals, Rival{name, "", other})
					}
					return e.judge()
				}
				l, r := of(left, right), of(right, left)
				if (l == Gone) == (r == Gone) {
					t.Fatalf("%v: %v, %v: %v", left, l, right, r)
				}
			}
		}
	}
}
