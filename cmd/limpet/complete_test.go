package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// offered is what a shell gets for a command line whose last word is begun.
func offered(t *testing.T, env map[string]string, line string) []string {
	t.Helper()
	// The shells ask like this.
	r := execute(t.Context(), env, append([]string{"__complete"}, strings.Split(line, " ")...)...)
	if r.code != 0 || strings.Contains(r.err, "rror") {
		t.Errorf("%q: exit %d: %s", line, r.code, r.err)
	}
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if last := lines[len(lines)-1]; last != ":36" && last != ":4" { // no files; in the order given
		t.Errorf("%q ends with %q", line, last)
	}
	return lines[:len(lines)-1]
}

func TestCompletionKnowsNames(t *testing.T) {
	f := &fakeAPI{waits: 1}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t)}
	for line, want := range map[string][]string{
		"run get ":                 {"pending\tindex-and-ask running", "bad\tindex-and-ask failed"},
		"run watch b":              {"bad\tindex-and-ask failed"},
		"run get pending ":         nil,
		"run get good --output ":   {"load\tsucceeded", "ask\tsucceeded"},
		"run replay good --step a": {"ask\tsucceeded"},
		"run get --output ":        nil,
		"run start ":               {"index-and-ask\tSOFT", "gone\tNONE"},
		"run list --workflow ":     {"index-and-ask\tSOFT", "legacy\tNONE", "gone\tNONE"},
		"workflow versions l":      {"legacy\tNONE"},
		"workflow retire ":         {"index-and-ask\tSOFT", "gone\tNONE"},
		"workflow restore ":        {"legacy\tNONE"},
		"workflow use i":           {"index-and-ask\tSOFT"},
		"workflow use index-and-ask ": {"fedcba9876543210fedcba9876543210\t2026-03-04 09:58:00",
			"0123456789abcdef0123456789abcdef\t2026-03-04 09:00:00 current"},
		"workflow use index-and-ask 0 ": nil,
		"run list --workflow i":         {"index-and-ask\tSOFT"},
		"run list --parent p":           {"pending\tindex-and-ask running"},
		"run list --worker gpu":         {"gpu-1\tup"},
		"run list --status s":           {"succeeded", "set-aside"},
		"worker get o":                  {"off\tdraining", "old\tgone"},
		"worker drain ":                 {"gpu-1\tup"},
		"worker undrain o":              {"off\tdraining"},
	} {
		if got := offered(t, env, line); !slices.Equal(got, want) {
			t.Errorf("%q offers %q, want %q", line, got, want)
		}
	}
	for line, want := range map[string][]messages.RunStatus{
		"run get ": nil, "run attempts ": nil, "run cancel ": {messages.RunStatus_RUN_STATUS_RUNNING}, "run signal ": {messages.RunStatus_RUN_STATUS_RUNNING}, "run ask ": {messages.RunStatus_RUN_STATUS_RUNNING}, "run replay ": endedStatuses,
	} {
		offered(t, env, line)
		if asked := f.listed[len(f.listed)-1]; !slices.Equal(asked.GetStatuses(), want) || asked.GetPageSize() != completionsMax {
			t.Errorf("%q asks for %v", line, asked)
		}
	}
}

// Whatever is at the address, or nothing: the shell is not kept waiting, and
// nothing is printed.
func TestCompletionIsSilent(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	refuses := &fakeAPI{secret: "of the cluster"}
	for what, address := range map[string]string{
		"nobody": "127.0.0.1:1,127.0.0.1:2", "deaf": deaf.Addr().String(), "other": other.URL,
		"no secret": refuses.serve(t), "no address": "nonsense",
	} {
		if got := offered(t, map[string]string{"LIMPET_ADDRESS": address}, "run get "); len(got) > 0 {
			t.Errorf("%s: offers %q", what, got)
		}
	}
	// Settings are read before Cobra completes; shells drop what it says of them.
	if r := execute(t.Context(), map[string]string{"LIMPET_CONFIG": "/nowhere/at/all.yaml"}, "__complete", "run", "get", ""); r.out != "" {
		t.Errorf("bad settings: %q", r.out)
	}
}

// Of many names some are offered, and none steers a terminal.
func TestCompletionIsBounded(t *testing.T) {
	f := &fakeAPI{}
	for n := range 3 * completionsMax {
		f.workers = append(f.workers, &api.Worker{WorkerId: fmt.Sprintf("w\x1b%03d", n), State: api.WorkerUp})
	}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t)}
	got := offered(t, env, "worker get w")
	if len(got) != completionsMax || got[0] != `w\x1b000`+"\tup" {
		t.Errorf("%d offered, the first %q", len(got), got[0])
	}
}
