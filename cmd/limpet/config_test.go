package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
)

// TestConfigPrintsWhatIsInForce, each setting once, with where it comes from,
// and no secret.
func TestConfigPrintsWhatIsInForce(t *testing.T) {
	dir := t.TempDir()
	file, store := filepath.Join(dir, "server.yaml"), filepath.Join(dir, "store")
	writeFile(t, store, "postgres://limpet:hush@db/limpet\n", 0o600)
	writeFile(t, file, "listen: 10.0.0.11:7080\npreset: lan\nstore_file: "+store+"\n", 0o644)
	env := map[string]string{"LIMPET_CONFIG": file, "LIMPET_SECRET": "hush, for this is a secret", "LIMPET_PRESET": "wan"}
	args := []string{"config", "--join", "10.0.0.12:7946", "--join", "10.0.0.13:7946"}

	text := execute(t.Context(), env, args...)
	answer := execute(t.Context(), env, append(args, "--json")...)
	for _, r := range []result{text, answer} {
		if r.code != exitOK || strings.Contains(r.out+r.err, "hush") {
			t.Fatalf("%+v", r)
		}
	}
	var got struct{ Settings []setting }
	if err := json.Unmarshal([]byte(answer.out), &got); err != nil || len(got.Settings) != len(config.Table) {
		t.Fatalf("%d settings: %v", len(got.Settings), err)
	}
	by := map[string]setting{}
	for _, s := range got.Settings {
		by[s.Name] = s
	}
	for name, want := range map[string][3]any{
		"config": {file, "environment", "LIMPET_CONFIG"},
		"listen": {"10.0.0.11:7080", "file", file + ":1"},
		"preset": {"wan", "environment", "LIMPET_PRESET"},
		"secret": {"set", "environment", "LIMPET_SECRET"},
		"store":  {"postgres://limpet:xxxxx@db/limpet", "file", file + ":3, " + store},
		"bind":   {"127.0.0.1:0", "default", "default"},
	} {
		s := by[name]
		if s.Value != want[0] || s.Source != want[1] || s.From != want[2] {
			t.Errorf("%s: %+v, want %v", name, s, want)
		}
		if !strings.Contains(text.out, want[0].(string)) || !strings.Contains(text.out, want[2].(string)) {
			t.Errorf("%s is not in\n%s", name, text.out)
		}
	}
	if s := by["join"]; s.From != "--join" || len(s.Value.([]any)) != 2 || s.Env != "LIMPET_JOIN" || s.Key != "join" {
		t.Errorf("join: %+v", s)
	}
}

// TestBadConfigIsRefused by what takes it, and by nothing else.
func TestBadConfigIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.yaml")
	writeFile(t, file, "listn: x\n", 0o600)
	env := map[string]string{"LIMPET_CONFIG": file}
	for _, line := range []string{"config", "server", "run list", "member list"} {
		r := execute(t.Context(), env, strings.Fields(line)...)
		if r.code != exitInvalid || !strings.Contains(r.err, "error INVALID_ARGUMENT: "+file+`:1: unknown key "listn"; did you mean "listen"?`) {
			t.Errorf("%s: %+v", line, r)
		}
	}
	for _, line := range []string{"version", "--help", "server --help"} {
		if r := execute(t.Context(), env, strings.Fields(line)...); r.code != exitOK {
			t.Errorf("%s: %+v", line, r)
		}
	}
}
