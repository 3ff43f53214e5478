package worker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

func TestConfigFromEnv(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{
		"LIMPET_WORKER_ID": "gpu/1", "LIMPET_WORKER_JOIN": "limpet-servers:7946, 10.0.0.12:7946,", "LIMPET_WORKER_JOIN_TIMEOUT": "-1s",
		"LIMPET_MEMBER_CA_FILE": "ca.pem", "LIMPET_MEMBER_CERT_FILE": "gpu.pem", "LIMPET_MEMBER_KEY_FILE": "gpu.key", "LIMPET_MEMBER_REVOKED_FILE": "revoked",
		"LIMPET_SECRET_FILE": secret, "LIMPET_WORKER_SLOTS": "8", "LIMPET_WORKER_STICKY_RUNS_MAX": "100", "LIMPET_WORKER_LABELS": "gpu=a100, zone = b=c",
		"LIMPET_WORKER_POOL": "gpu", "LIMPET_WORKER_BIND": ":7081", "LIMPET_WORKER_GOSSIP": ":7946", "LIMPET_WORKER_ADVERTISE_HOST": "10.1.2.3",
		"LIMPET_PRESET": "lan", "LIMPET_WORKER_GRACE": "5m", "LIMPET_WORKER_END_IF_HELD_FOR": "10m", "LIMPET_WORKER_METRICS_LISTEN": ":9464",
		"LIMPET_WORKER_KEPT_MAX": "50", "LIMPET_WORKER_KEPT_BYTES_MAX": "6000000000",
		"LIMPET_WORKER_SHARED_LOCALS_MAX": "7", "LIMPET_WORKER_SHARED_LOCALS_BYTES_MAX": "5000000000", "LIMPET_WORKER_SHARED_LOCALS_IDLE": "90s",
	}
	for name, value := range given {
		t.Setenv(name, value)
	}
	c, err := ConfigFromEnv()
	want := Config{
		ID: "gpu/1", Join: []string{"limpet-servers:7946", "10.0.0.12:7946"}, JoinTimeout: -time.Second, Secret: "hush", Slots: 8,
		StickyRunsMax: 100, Labels: map[string]string{"gpu": "a100", "zone": "b=c"}, Pool: "gpu", BindAddress: ":7081",
		GossipAddress: ":7946", AdvertiseHost: "10.1.2.3", Preset: cluster.LANConfig(), Grace: 5 * time.Minute, EndIfHeldFor: 10 * time.Minute, MetricsListen: ":9464",
		KeptMax: 50, KeptBytesMax: 6_000_000_000,
		Identity:        cluster.IdentityFiles{CA: "ca.pem", Certificate: "gpu.pem", Key: "gpu.key", Revoked: "revoked"},
		SharedLocalsMax: 7, SharedLocalsBytesMax: 5_000_000_000, SharedLocalsIdle: 90 * time.Second,
	}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, %v", c, err)
	}
	given["LIMPET_SECRET"] = "hush"
	for _, v := range Environment() {
		if given[v.Name] == "" {
			t.Errorf("%s is not tried here", v.Name)
		}
	}
}

// TestNamesOfVariables gives each variable by its name, by its old one, by both,
// and empty. A new name wins and is not warned of; an old one is, once.
func TestNamesOfVariables(t *testing.T) {
	const none = "\x00"
	alwaysNew := []string{"LIMPET_WORKER_ID", "LIMPET_WORKER_END_IF_HELD_FOR", "LIMPET_WORKER_METRICS_LISTEN", "LIMPET_WORKER_KEPT_MAX", "LIMPET_WORKER_KEPT_BYTES_MAX"}
	dir := t.TempDir()
	valid := func(v Variable) (one, other string) {
		switch strings.TrimPrefix(strings.TrimPrefix(v.Name, "LIMPET_"), "WORKER_") {
		case "SLOTS", "STICKY_RUNS_MAX", "KEPT_MAX", "KEPT_BYTES_MAX", "SHARED_LOCALS_MAX", "SHARED_LOCALS_BYTES_MAX":
			return "7", "8"
		case "JOIN_TIMEOUT", "SHARED_LOCALS_IDLE", "GRACE", "END_IF_HELD_FOR":
			return "7s", "8s"
		case "LABELS":
			return "a=b", "c=d"
		case "PRESET":
			return "lan", "wan"
		case "SECRET_FILE":
			one, other = filepath.Join(dir, "one"), filepath.Join(dir, "other")
			for _, path := range []string{one, other} {
				if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return one, other
		}
		return "localhost:1", "localhost:2"
	}
	for _, v := range Environment() {
		one, other := valid(v)
		read := func(name, old string) Config {
			t.Helper()
			c, err := configFrom(func(variable string) string {
				switch {
				case variable == v.Name && name != none:
					return name
				case v.old != "" && variable == v.old && old != none:
					return old
				}
				return ""
			})
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
			return c
		}
		set := func(value string) (c Config) {
			if err := v.set(&c, value); err != nil || reflect.DeepEqual(c, Config{}) {
				t.Errorf("%s: %q sets nothing: %v", v.Name, value, err)
			}
			return c
		}
		warned := set(other)
		warned.renamed = []Variable{v}
		for what, tc := range map[string]struct {
			name, old string
			want      Config
			warnings  int
		}{
			"new":              {one, none, set(one), 0},
			"old":              {none, other, warned, 1},
			"both":             {one, other, set(one), 0},
			"new empty":        {"", none, Config{}, 0},
			"new empty, old":   {"", other, warned, 1},
			"new, old empty":   {one, "", set(one), 0},
			"both empty":       {"", "", Config{}, 0},
			"neither is there": {none, none, Config{}, 0},
		} {
			if v.old == "" && strings.Contains(what, "old") {
				continue
			}
			got := read(tc.name, tc.old)
			if !same(got, tc.want) {
				t.Errorf("%s, %s: %+v, want %+v", v.Name, what, got, tc.want)
			}
			if lines := warnings(t, got); len(lines) != tc.warnings || tc.warnings == 1 &&
				(lines[0]["level"] != "WARN" || lines[0]["old"] != v.old || lines[0]["new"] != v.Name) {
				t.Errorf("%s, %s: log %v, want %d lines", v.Name, what, lines, tc.warnings)
			}
		}
		if ofWorker := strings.HasPrefix(v.Name, "LIMPET_WORKER_"); v.old != "" && v.old != strings.Replace(v.Name, "WORKER_", "", 1) ||
			(v.old != "") != (ofWorker && !slices.Contains(alwaysNew, v.Name)) {
			t.Errorf("%s has the old name %q", v.Name, v.old)
		}
	}
	// A fault is of the name that was given.
	_, err := configFrom(func(name string) string { return map[string]string{"LIMPET_SLOTS": "many"}[name] })
	if messages.CodeOf(err) != messages.CodeInvalidArgument || !strings.Contains(err.Error(), `LIMPET_SLOTS: "many" is not a number`) {
		t.Error(err)
	}
}

// same compares two configurations of ConfigFromEnv, but what cannot be compared.
func same(a, b Config) bool {
	old := func(c Config) (names []string) {
		for _, v := range c.renamed {
			names = append(names, v.Name)
		}
		return names
	}
	names := slices.Equal(old(a), old(b))
	a.renamed, b.renamed = nil, nil
	return names && reflect.DeepEqual(a, b)
}

// warnings are the lines that New writes for a configuration.
func warnings(t *testing.T, c Config) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	c.Logger = slog.New(slog.NewJSONHandler(&out, nil))
	// What every worker needs, and New checks.
	c.ID, c.Pool, c.Join = "w", "", []string{"a:1"}
	greet := sdk.NewWorkflow[string]("greet", sdk.WorkflowConfig{})
	sdk.AddStep(greet, "greet", func(_ sdk.Context, name string) (string, error) { return "hello " + name, nil })
	if _, err := New(c, greet); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestConfigFromEmptyEnv(t *testing.T) {
	for _, v := range Environment() {
		t.Setenv(v.Name, "")
	}
	if c, err := ConfigFromEnv(); err != nil || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("LIMPET_WORKER_GRACE", "0s")
	t.Setenv("LIMPET_SECRET", "hush")
	t.Setenv("LIMPET_WORKER_SHARED_LOCALS_IDLE", "0s")
	if c, err := ConfigFromEnv(); err != nil || c.Grace != NoGrace || c.SharedLocalsIdle != NoIdle || c.Secret != "hush" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestConfigFromBadEnvNamesEveryVariable(t *testing.T) {
	for name, value := range map[string]string{
		"LIMPET_WORKER_JOIN_TIMEOUT": "soon", "LIMPET_SECRET": "hush", "LIMPET_SECRET_FILE": "/does/not/exist", "LIMPET_WORKER_SLOTS": "many",
		"LIMPET_WORKER_STICKY_RUNS_MAX": "1.5", "LIMPET_WORKER_LABELS": "gpu", "LIMPET_PRESET": "fast", "LIMPET_WORKER_GRACE": "5",
	} {
		t.Setenv(name, value)
	}
	_, err := ConfigFromEnv()
	if messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LIMPET_WORKER_JOIN_TIMEOUT: ", "both LIMPET_SECRET and LIMPET_SECRET_FILE", "LIMPET_SECRET_FILE: open /does/not/exist",
		`LIMPET_WORKER_SLOTS: "many" is not a number`, "LIMPET_WORKER_STICKY_RUNS_MAX: ", `LIMPET_WORKER_LABELS: "gpu" is not key=value`, "LIMPET_PRESET: ", "LIMPET_WORKER_GRACE: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q", want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Error("the error tells the secret")
	}
	if _, err := labels("a=1,a=2"); err == nil || !strings.Contains(err.Error(), `key "a" is given twice`) {
		t.Error(err)
	}
}
