package cluster

import (
	"strings"
	"testing"
)

func namesOf(list string) []string { return strings.Fields(list) }

func TestJudge(t *testing.T) {
	sees := func(name, servers string, workers int) rival { return rival{name, "", side{namesOf(servers), workers}} }
	for _, c := range []struct {
		what string
		missing
		want judgement
	}{
		{"one of three has gone", missing{mine: side{namesOf("a b"), 0}, known: namesOf("a b c")}, missedGone},
		{"most answer although the store does not", missing{mine: side{namesOf("a b"), 0}, known: namesOf("a b c"), read: false}, missedGone},
		{"the other of two has gone", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b"), read: true}, missedGone},
		{"the others of three have gone", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b c"), read: true}, missedGone},
		{"the store does not answer", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b")}, missedWait},
		{"one is silent and not declared gone", missing{mine: side{namesOf("a"), 3}, known: namesOf("a b"), read: true, silent: true}, missedWait},
		{"two others live", missing{mine: side{namesOf("a"), 9}, known: namesOf("a b c"), read: true,
			rivals: []rival{sees("b", "b c", 0), sees("c", "b c", 0)}}, missedCutOff},
		{"the other of two lives, and has not noticed", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b"), read: true, patience: true,
			rivals: []rival{sees("b", "a b", 4)}}, missedWait},
		{"it does not notice", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b"), read: true,
			rivals: []rival{sees("b", "a b", 4)}}, missedCutOff},
		{"the other of two has fewer workers", missing{mine: side{namesOf("a"), 4}, known: namesOf("a b"), read: true,
			rivals: []rival{sees("b", "b", 1)}}, missedGone},
		{"the other of two has more workers", missing{mine: side{namesOf("a"), 1}, known: namesOf("a b"), read: true,
			rivals: []rival{sees("b", "b", 4)}}, missedCutOff},
		{"the first name of two equals", missing{mine: side{namesOf("a"), 2}, known: namesOf("a b"), read: true,
			rivals: []rival{sees("b", "b", 2)}}, missedGone},
		{"a server that starts alone while others live", missing{mine: side{namesOf("a"), 0}, read: true,
			rivals: []rival{sees("b", "b c", 2), sees("c", "b c", 2)}}, missedCutOff},
		{"a server that others do not know", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b"), read: true,
			rivals: []rival{sees("b", "b", 3)}}, missedCutOff},
		{"one of two rivals has noticed", missing{mine: side{namesOf("a"), 0}, known: namesOf("a b c"), read: true, patience: true,
			rivals: []rival{sees("b", "a b c", 3), sees("c", "b c", 3)}}, missedCutOff},
	} {
		c.self = "a"
		if got := c.judge(); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// However two servers that do not reach each other see the cluster, one of them
// goes on and the other yields.
func TestSidesComeToTheSameEnd(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	for cut := 1; cut < 1<<len(all)-1; cut++ {
		for workersLeft := range 4 {
			for workersRight := range 4 {
				left, right := side{nil, workersLeft}, side{nil, workersRight}
				for i, name := range all {
					if cut&(1<<i) != 0 {
						left.servers = append(left.servers, name)
					} else {
						right.servers = append(right.servers, name)
					}
				}
				of := func(mine, other side) judgement {
					c := missing{self: mine.servers[0], mine: mine, known: all, read: true}
					for _, name := range other.servers {
						c.rivals = append(c.rivals, rival{name, "", other})
					}
					return c.judge()
				}
				l, r := of(left, right), of(right, left)
				if (l == missedGone) == (r == missedGone) {
					t.Fatalf("%v: %v, %v: %v", left, l, right, r)
				}
			}
		}
	}
}
