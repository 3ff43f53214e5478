package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/limpetrun/limpet/messages"
)

// resolve does what a command does with its arguments and environment.
func resolve(t *testing.T, scope Scope, env map[string]string, args ...string) (Values, Origins, error) {
	t.Helper()
	var v Values
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Register(flags, &v, Shared)
	if scope == Server {
		Register(flags, &v, Server)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	origins, err := Resolve(flags, &v, scope, func(name string) string { return env[name] })
	return v, origins, err
}

// write makes a file that only its owner can read.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// samples are three values of a setting, as they are given, none of them the
// default.
func samples(s Setting) [3]string {
	switch {
	case s.choices != nil:
		var others []string
		for _, c := range slices.Concat(s.choices, s.choices, s.choices) {
			if c != s.Default {
				others = append(others, c)
			}
		}
		return [3]string(others[:3])
	case s.off:
		return [3]string{"11s", "12m", "0s"}
	case s.Kind() == "duration":
		return [3]string{"11s", "12m", "-1s"}
	case s.Kind() == "true or false":
		return [3]string{"true", "false", "true"}
	case s.Kind() == "list":
		return [3]string{"a:1", "b:1,b:2", "c:3"}
	case s.Kind() == "whole number":
		return [3]string{"7", "12", "-1"}
	case s.Kind() == "number":
		return [3]string{"1", "-1", "1.0"}
	}
	return [3]string{"of-the-flag", "of-the-environment", "of-the-file"}
}

// parsed is the value that a text stands for.
func parsed(t *testing.T, s Setting, text string) any {
	t.Helper()
	switch s.Kind() {
	case "list":
		return strings.Split(text, ",")
	case "duration":
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "true or false":
		return text == "true"
	case "whole number":
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	case "number":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	return text
}

// TestPrecedence tries each setting in each way and in all ways at once.
func TestPrecedence(t *testing.T) {
	for _, s := range Table {
		if s.Name == "config" {
			continue // TestConfigFile
		}
		for ways := range 8 {
			t.Run(fmt.Sprintf("%s/%03b", s.Name, ways), func(t *testing.T) {
				given := samples(s)
				if strings.HasSuffix(s.Name, "-file") { // these are read
					for i, text := range given {
						given[i] = write(t, "secret "+text)
					}
				}
				for i, text := range given {
					given[i] = s.begins + text
				}
				env, lines, args := map[string]string{}, "# settings\n", []string{}
				want, from, name := s.Default, Default, "default"
				if ways&1 != 0 {
					lines += s.Key() + ": " + given[2] + "\n"
					want, from = given[2], File
				}
				path := write(t, lines)
				if from == File {
					name = path + ":2"
				}
				if ways&2 != 0 {
					env[s.Env()] = given[1]
					want, from, name = given[1], Environment, s.Env()
				}
				if ways&4 != 0 {
					args = append(args, "--"+s.Name+"="+given[0])
					want, from, name = given[0], Flag, "--"+s.Name
				}
				v, origins, err := resolve(t, Server, env, append(args, "--config", path)...)
				if err != nil {
					t.Fatal(err)
				}
				got := reflect.ValueOf(s.field(&v)).Elem()
				if want == "" && got.IsZero() || reflect.DeepEqual(got.Interface(), parsed(t, s, want)) {
					if o := origins[s.Name]; o.Source != from || o.Name != name {
						t.Errorf("%v comes from %v %q, want %v %q", got, o.Source, o, from, name)
					}
					return
				}
				t.Errorf("%v, want %q of %v", got, want, from)
			})
		}
	}
}

func TestConfigFile(t *testing.T) {
	path := write(t, "id: of-the-file\nlisten: '[::1]:7080'\njoin:\n  - a:1\n  - b:2\nretention: 1h30m\n")
	for _, way := range []struct {
		env  map[string]string
		args []string
	}{{nil, []string{"--config", path}}, {map[string]string{"LIMPET_CONFIG": path}, nil}} {
		v, _, err := resolve(t, Server, way.env, way.args...)
		if err != nil || v.ID != "of-the-file" || v.Listen != "[::1]:7080" || !reflect.DeepEqual(v.Join, []string{"a:1", "b:2"}) || v.Retention != 90*time.Minute {
			t.Errorf("%+v, %v", v, err)
		}
	}
	// A client takes its own settings from a server's file.
	path = write(t, "address: [a:1, b:2]\nid: s1\nstore: memory\n")
	v, origins, err := resolve(t, Shared, map[string]string{"LIMPET_STORE_WAIT": "nonsense"}, "--config", path)
	if err != nil || !reflect.DeepEqual(v.Address, []string{"a:1", "b:2"}) || v.ID != "" || origins["id"] != (Origin{}) {
		t.Errorf("%+v, %v", v, err)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		if v, _, err := resolve(t, Server, nil, "--config", write(t, empty)); err != nil || v.Listen != "127.0.0.1:7080" {
			t.Errorf("%q: %+v, %v", empty, v, err)
		}
	}
}

func TestFaultsSayWhere(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		args []string
		want []string
	}{
		"unknown key":       {"id: a\nlistn: x\nretain: 1h\n", nil, nil, []string{`FILE:2: unknown key "listn"; did you mean "listen"?`, `FILE:3: unknown key "retain"`}},
		"name of a flag":    {"advertise-host: x\n", nil, nil, []string{`FILE:1: unknown key "advertise-host"; did you mean "advertise_host"?`}},
		"its own path":      {"config: x\n", nil, nil, []string{`FILE:1: unknown key "config"`}},
		"twice":             {"id: a\nid: b\n", nil, nil, []string{"FILE:2: id is given twice"}},
		"not YAML":          {"id: [a\n", nil, nil, []string{"FILE: ", "line "}},
		"two documents":     {"id: a\n---\nid: b\n", nil, nil, []string{"FILE: more than one document"}},
		"no mapping":        {"- id\n", nil, nil, []string{"FILE:1: not a list of `key: value`"}},
		"types":             {"id: [a]\njoin: {a: 1}\nretention: 5\nlog_json: often\n", nil, nil, []string{"FILE:1: id: is not text", "FILE:2: join: is not a list", "FILE:3: retention: ", "FILE:4: log_json: "}},
		"list of lists":     {"join: [[a]]\n", nil, nil, []string{"FILE:1: join: is not a list of texts"}},
		"no value":          {"id:\n", nil, nil, []string{"FILE:1: id: has no value"}},
		"choice":            {"preset: fast\n", nil, nil, []string{`FILE:1: preset "fast" is none of local, lan, wan`}},
		"environment":       {"", map[string]string{"LIMPET_RETENTION": "7 days", "LIMPET_LOG_JSON": "si"}, nil, []string{"LIMPET_RETENTION: ", "LIMPET_LOG_JSON: "}},
		"numbers":           {"moves_per_second: 1.5\nheld_load_bound: much\n", nil, nil, []string{"FILE:1: moves_per_second: ", "FILE:2: held_load_bound: "}},
		"range":             {"held_load_bound: 0.5\nheld_load_free: NaN\n", nil, []string{"--moves-per-second=0"}, []string{"FILE:1: held-load-bound 0.5 is neither -1 nor from 1 to 1000", "FILE:2: held-load-free NaN is", "--moves-per-second: moves-per-second 0 is neither -1 nor from 1 to 1000000"}},
		"off or range":      {"unserved_after: -1s\n", nil, nil, []string{"FILE:1: unserved-after -1s is neither 0s nor from 1s to 876000h0m0s"}},
		"too short":         {"", map[string]string{"LIMPET_UNSERVED_AFTER": "500ms"}, nil, []string{"LIMPET_UNSERVED_AFTER: unserved-after 500ms is neither 0s nor from 1s"}},
		"choice by a flag":  {"", nil, []string{"--log-level", "loud"}, []string{`--log-level: log-level "loud" is none of debug, info, warn, error`}},
		"both":              {"", map[string]string{"LIMPET_SECRET": "hush", "LIMPET_SECRET_FILE": "x"}, nil, []string{"both LIMPET_SECRET and LIMPET_SECRET_"}},
		"both in a file":    {"store: memory\nstore_file: x\n", nil, nil, []string{"both FILE:1 and FILE:2 are given"}},
		"no such file":      {"secret_file: /does/not/exist\n", nil, nil, []string{"FILE:1: open /does/not/exist"}},
		"secret of a shape": {"secret: {hush: hush}\n", nil, nil, []string{"FILE:1: secret: is not text"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.file)
			_, _, err := resolve(t, Server, tc.env, append(tc.args, "--config", path)...)
			if messages.CodeOf(err) != messages.CodeInvalidArgument {
				t.Fatalf("%v", err)
			}
			for _, want := range tc.want {
				if want = strings.ReplaceAll(want, "FILE", path); !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %s", err, want)
				}
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
	if _, _, err := resolve(t, Server, nil, "--config", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) || messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("no file: %v", err)
	}
	if _, _, err := resolve(t, Server, nil, "--config", write(t, strings.Repeat("#", fileBytesMax+1))); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

// TestSecretsInFiles: the file of a secret, and the secret, are one setting;
// what is given with more force wins.
func TestSecretsInFiles(t *testing.T) {
	secret, store := write(t, "  hush\n"), write(t, "postgres://limpet:hush@db/limpet\n")
	v, origins, err := resolve(t, Server, map[string]string{"LIMPET_SECRET_FILE": secret}, "--config", write(t, "secret: other\nstore_file: "+store+"\n"))
	if err != nil || v.Secret != "hush" || v.Store != "postgres://limpet:hush@db/limpet" {
		t.Fatalf("%+v, %v", v, err)
	}
	if o := origins["secret"]; o.String() != "LIMPET_SECRET_FILE, "+secret || o.Source != Environment {
		t.Errorf("the secret comes from %s", o)
	}
	shown, err := json.Marshal(Show(&v, origins, Server))
	if err != nil || strings.Contains(string(shown), "hush") || !strings.Contains(string(shown), `"Value":"set"`) || !strings.Contains(string(shown), "limpet:xxxxx@db") {
		t.Errorf("shown: %s, %v", shown, err)
	}
	v, origins, err = resolve(t, Shared, map[string]string{"LIMPET_SECRET_FILE": "/does/not/exist"}, "--secret", "by-hand")
	if err != nil || v.Secret != "by-hand" || v.SecretFile != "" || origins["secret"].String() != "--secret" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, _, err := resolve(t, Server, nil, "--store", "memory", "--config", write(t, "store_file: /does/not/exist\n")); err != nil || v.Store != "memory" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, _, err := resolve(t, Server, nil); err != nil || v.Secret != "" || v.Store != "sqlite:limpet-data/journal.db" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestFilesThatOthersCanRead are refused if they hold a secret.
func TestFilesThatOthersCanRead(t *testing.T) {
	for text, refused := range map[string]bool{
		"id: a\nsecret: hush\n":                                true,
		"store: postgres://limpet:hush@db/limpet\n":            true,
		"store: postgres://db/limpet?user=l&password=hush\n":   true,
		"store: postgres://limpet@db/limpet\n":                 false,
		"secret_file: " + write(t, "hush") + "\nstore: memory": false,
	} {
		for mode, open := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o602: true} {
			path := write(t, text)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := resolve(t, Server, nil, "--config", path)
			if (err != nil) != (refused && open) {
				t.Errorf("mode %04o, %q: %v", mode, text, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "chmod o-rw") || strings.Contains(err.Error(), "hush")) {
				t.Error(err)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	for store, want := range map[string]string{
		"memory":                                                "memory",
		"sqlite:/var/lib/limpet/journal.db":                     "sqlite:/var/lib/limpet/journal.db",
		"postgres://limpet@db:5432/limpet":                      "postgres://limpet@db:5432/limpet",
		"postgres://limpet:pw@db/limpet?sslmode=require":        "postgres://limpet:xxxxx@db/limpet?sslmode=require",
		"postgres://db/limpet?password=p%26w&sslpassword=q&a=b": "postgres://db/limpet?password=xxxxx&sslpassword=xxxxx&a=b",
		"postgres://limpet:p w%zz@db/limpet":                    "postgres://xxxxx",
		"host=db user=limpet password=pw dbname=limpet":         "host=db user=limpet password=xxxxx dbname=limpet",
		`host=db password = 'p w\'x' dbname=limpet`:             "host=db password = xxxxx dbname=limpet",
		"postgres://limpet:p%40w@a:5432,b:5432/limpet?x=y":      "postgres://limpet:xxxxx@a:5432,b:5432/limpet?x=y",
		"postgres://limpet:pw@[::1]:5432/limpet":                "postgres://limpet:xxxxx@[::1]:5432/limpet",
	} {
		if got := Redact(store); got != want {
			t.Errorf("%s\n got %s\nwant %s", store, got, want)
		}
		if Redact(want) != want {
			t.Errorf("%s is not left alone", want)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	fields := map[any]string{}
	var v Values
	for _, s := range Table {
		if seen[s.Name] || s.Help == "" || strings.HasSuffix(s.Help, ".") {
			t.Errorf("%q is there twice, or has no help, or a full stop", s.Name)
		}
		seen[s.Name] = true
		if other := fields[s.field(&v)]; other != "" {
			t.Errorf("%s and %s are one field", s.Name, other)
		}
		fields[s.field(&v)] = s.Name
		if _, ok := find(s.from); s.from != "" && !ok {
			t.Errorf("%s comes from %q, which is no setting", s.Name, s.from)
		}
	}
	if n := reflect.TypeFor[Values]().NumField(); n != len(Table) {
		t.Errorf("%d settings for %d fields", len(Table), n)
	}
}
