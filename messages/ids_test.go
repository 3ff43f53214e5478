package messages

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestNewRunIDsSortByTheirMaking(t *testing.T) {
	ids := make([]string, 20_000)
	for i := range ids {
		ids[i] = NewRunID()
	}
	if !slices.IsSorted(ids) {
		t.Error("ids of one process are not in the order of their making")
	}
	if len(slices.Compact(ids)) != 20_000 {
		t.Error("an id was drawn twice")
	}
	if err := CheckName("run id", ids[0]); err != nil || len(ids[0]) != 26 || strings.ToLower(ids[0]) != ids[0] {
		t.Errorf("id %q: %v", ids[0], err)
	}
}

func TestNewRunIDIsSafeForConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	drawn := make([][]string, 4)
	for i := range drawn {
		wg.Go(func() {
			for range 2000 {
				drawn[i] = append(drawn[i], NewRunID())
			}
		})
	}
	wg.Wait()
	all := slices.Concat(drawn...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 8000 {
		t.Error("an id was drawn twice")
	}
}

func TestOnlyDrawnRunIDsAreTaken(t *testing.T) {
	id := NewRunID()
	if err := CheckDrawnRunID(id); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "mine", id + "0", strings.ToUpper(id), "8" + id[1:], RunIDForKey("w", "k"), RunIDForEvent("e", "w"), RunIDForChild(id, "s", "k")} {
		if CodeOf(CheckDrawnRunID(bad)) != CodeInvalidArgument {
			t.Errorf("%q is taken for a drawn id", bad)
		}
	}
}

func TestDerivedRunIDs(t *testing.T) {
	key := RunIDForKey("order", "a")
	event := RunIDForEvent("order", "a")
	child := RunIDForChild("order", "a", "0")
	for _, tc := range []struct {
		name      string
		got, want string
		same      bool
	}{
		{"same workflow and key", RunIDForKey("order", "a"), key, true},
		{"other key", RunIDForKey("order", "b"), key, false},
		{"other cut between workflow and key", RunIDForKey("ordera", ""), key, false},
		{"an event is not a key", event, key, false},
		{"same event and workflow", RunIDForEvent("order", "a"), event, true},
		{"same spawn", RunIDForChild("order", "a", "0"), child, true},
		{"other spawn key", RunIDForChild("order", "a", "1"), child, false},
	} {
		if (tc.got == tc.want) != tc.same {
			t.Errorf("%s: %q and %q", tc.name, tc.got, tc.want)
		}
	}
	if !strings.HasPrefix(child, "order.") {
		t.Errorf("child id %q does not begin with its parent's", child)
	}
}

func TestRunIDsOfDeepChildrenStayNames(t *testing.T) {
	id := NewRunID()
	for range 200 {
		child := RunIDForChild(id, "step", "0")
		if err := CheckName("run id", child); err != nil || child == id {
			t.Fatalf("child of %q: %q: %v", id, child, err)
		}
		id = child
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "gpu-1", "host/name", "user:create", "A.b_9", strings.Repeat("x", NameBytesMax)} {
		if err := CheckName("name", name); err != nil {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a*", "ä", "a\n", strings.Repeat("x", NameBytesMax+1)} {
		err := CheckName("workflow", name)
		if !errors.Is(err, &Error{Code: CodeInvalidArgument}) || !strings.Contains(err.Error(), "workflow") {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
}

func TestCheckPayload(t *testing.T) {
	if err := CheckPayload("input", make([]byte, PayloadBytesMax)); err != nil {
		t.Error(err)
	}
	err := CheckPayload("input", make([]byte, PayloadBytesMax+1))
	want := "PAYLOAD_TOO_LARGE: input has 1048577 bytes (1.00 MiB), more than PayloadBytesMax = 1048576 bytes (1.00 MiB)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
