package access

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The table in the papers is that of the code. With UPDATE_TABLES=1 it is written.
func TestRolesInThePapers(t *testing.T) {
	const path, begin, end = "../../.github/SECURITY.md", "<!-- roles -->\n", "<!-- end of roles -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("no marks of the table")
	}
	want := before + begin + roleTable("procedure", Procedures) + "\n" + roleTable("route", Routes) + end + after
	if os.Getenv("UPDATE_TABLES") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("the table in %s is not that of the code; UPDATE_TABLES=1 go test ./actors/access -run %s writes it", path, t.Name())
	}
}

// roleTable has what wants least first.
func roleTable(of string, table map[string]Permission) string {
	names := slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		if table[a].Least != table[b].Least {
			return int(table[a].Least) - int(table[b].Least)
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | least role | |\n|---|---|---|\n", of)
	for _, name := range names {
		p, role, notes := table[name], RoleName(table[name].Least), []string{}
		if p.Public {
			role = "none: for everybody"
		}
		for note, so := range map[string]bool{"a command": p.Command, "all workflows": p.Whole, "payloads": p.Payloads} {
			if so {
				notes = append(notes, note)
			}
		}
		slices.Sort(notes)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, role, strings.Join(notes, ", "))
	}
	return b.String()
}

func TestViews(t *testing.T) {
	limited := View{Role: messages.Role_ROLE_RUN, Workflows: "ci/", Pool: "default"}
	for of, want := range map[[2]string]bool{{"ci/a", ""}: true, {"ci/a", "default"}: true, {"ci/a", "gpu"}: false, {"ci", ""}: false, {"a", ""}: false} {
		if limited.Sees(of[0], of[1]) != want {
			t.Errorf("%q: want %v", of, want)
		}
	}
	if !Everything.Sees("any", "gpu") || (View{}).MayCall("GetRun") || limited.MayCall("PushEvent") || !limited.MayCall("StartRun") || limited.MayCall("DrainWorker") {
		t.Error("another view")
	}
	for p, want := range map[Permission]bool{{}: false, {Public: true}: true, {Least: read}: true, {Least: operate}: false, {Least: read, Whole: true}: false} {
		if limited.May(p) != want {
			t.Errorf("%+v: want %v", p, want)
		}
	}
	now := time.Unix(1000, 0)
	for us, want := range map[int64]bool{0: false, 1000e6: true, 1000e6 + 1: false} {
		if Expired(&messages.TokenRecord{ExpiresUs: us}, now) != want {
			t.Errorf("expires at %d: want %v", us, want)
		}
	}
}

// Each token begins alike, is of one length, and is named by its hash.
func TestTokens(t *testing.T) {
	one, other := NewToken([32]byte{1}), NewToken([32]byte{2})
	if !strings.HasPrefix(one, TokenPrefix) || len(one) != len(TokenPrefix)+52 || one == other || one != strings.ToLower(one) {
		t.Errorf("%q and %q", one, other)
	}
	if id := TokenID(Hash(one)); len(id) != 16 || id == TokenID(Hash(other)) || strings.Contains(one, id) {
		t.Errorf("id %q", id)
	}
}
