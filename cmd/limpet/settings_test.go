package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

const longSecret = "a secret of this test, long enough"

// wrongSettings are refused by the settings alone. With each are those that it
// needs beside it, and what the error says but for where the value comes from.
var wrongSettings = []struct {
	name, value string
	beside      map[string]string
	code        messages.Code
	want        string
}{
	{"retention", "-5m", nil, messages.CodeInvalidArgument, "retention -5m0s is neither -1s nor from 1s to 876000h0m0s"},
	{"retention", "0s", nil, messages.CodeInvalidArgument, "retention 0s is neither -1s nor from 1s"},
	{"retention", "soon", nil, messages.CodeInvalidArgument, `invalid duration "soon"`},
	{"retention", "2000000h", nil, messages.CodeInvalidArgument, "retention 2000000h0m0s is neither"},
	{"events-kept", "9s", nil, messages.CodeInvalidArgument, "events-kept 9s is neither -1s nor from 10s to 876000h0m0s"},
	{"events-kept", "for ever", nil, messages.CodeInvalidArgument, `invalid duration "for ever"`},
	{"stream-bytes-max", "0", nil, messages.CodeInvalidArgument, "stream-bytes-max 0 is neither -1 nor from 1 to 1099511627776"},
	{"stream-bytes-max", "much", nil, messages.CodeInvalidArgument, `parsing "much": invalid syntax`},
	{"store-wait", "-2m", nil, messages.CodeInvalidArgument, "store-wait -2m0s is neither -1s nor from 0s to 876000h0m0s"},
	{"unserved-after", "-1s", nil, messages.CodeInvalidArgument, "unserved-after -1s is neither 0s nor from 1s to 876000h0m0s"},
	{"unserved-after", "500ms", nil, messages.CodeInvalidArgument, "unserved-after 500ms is neither 0s nor from 1s"},
	{"moves-per-second", "-7", nil, messages.CodeInvalidArgument, "moves-per-second -7 is neither -1 nor from 1 to 1000000"},
	{"held-load-bound", "0.5", nil, messages.CodeInvalidArgument, "held-load-bound 0.5 is neither -1 nor from 1 to 1000"},
	{"held-load-free", "NaN", nil, messages.CodeInvalidArgument, "held-load-free NaN is neither -1 nor"},
	{"codec", "ftp://host/codec", nil, messages.CodeInvalidArgument, `codec "ftp://host/codec" is neither a program nor a URL of http or https`},
	{"preset", "fast", nil, messages.CodeInvalidArgument, `preset "fast" is none of local, lan, wan`},
	{"log-level", "loud", nil, messages.CodeInvalidArgument, `log-level "loud" is none of debug, info, warn, error`},
	{"log-json", "often", nil, messages.CodeInvalidArgument, "often"},
	{"id", "a b", nil, messages.CodeInvalidArgument, `id "a b": ' ' is not allowed`},
	{"id", strings.Repeat("x", 129), nil, messages.CodeInvalidArgument, "id of 129 bytes"},
	{"store", "postgres", nil, messages.CodeInvalidArgument, `store "postgres" is neither memory nor sqlite:PATH nor postgres://`},
	{"store", "sqlite:", nil, messages.CodeInvalidArgument, `store "sqlite:" is neither`},
	{"store", "postgres://limpet@db:none/limpet", nil, messages.CodeInvalidArgument, "the URL of the PostgreSQL database cannot be read"},
	{"listen", "nowhere", nil, messages.CodeInvalidArgument, `API address "nowhere" is not host:port`},
	{"listen", "127.0.0.1:99999", nil, messages.CodeInvalidArgument, `API address "127.0.0.1:99999": the port is not a number from 0 to 65535`},
	{"bind", "nowhere", nil, messages.CodeInvalidArgument, `bind address "nowhere" is not host:port`},
	{"bind", "127.0.0.1:http", nil, messages.CodeInvalidArgument, `bind address "127.0.0.1:http": the port is not a number`},
	{"bind", ":7081", map[string]string{"secret": longSecret}, messages.CodeInvalidArgument, ":7081 is every address of this machine"},
	{"gossip", "localhost:7946", nil, messages.CodeInvalidArgument, `gossip address "localhost:7946": the host has to be an IP`},
	{"gossip", "127.0.0.1:-1", nil, messages.CodeInvalidArgument, `gossip address "127.0.0.1:-1": the port is not a number`},
	{"join", "10.0.0.2", nil, messages.CodeInvalidArgument, `join address "10.0.0.2" is not host:port`},
	{"listen", "0.0.0.0:7080", nil, messages.CodeSecretRequired, "API address 0.0.0.0:7080 is beyond loopback and there is no secret"},
	{"bind", "10.0.0.5:7081", nil, messages.CodeSecretRequired, "bind address 10.0.0.5:7081 is beyond loopback and there is no secret"},
	{"gossip", "10.0.0.5:7946", nil, messages.CodeSecretRequired, "gossip address 10.0.0.5:7946 is beyond loopback and there is no secret"},
	{"advertise-host", "10.0.0.5", nil, messages.CodeSecretRequired, "advertised host 10.0.0.5 is beyond loopback and there is no secret"},
	{"secret", "hush-hush-hush!", map[string]string{"listen": "10.0.0.5:7080"}, messages.CodeSecretRequired, "API address 10.0.0.5:7080 is beyond loopback and the secret is too weak: it has 15 bytes, and needs at least 16"},
	{"secret", "hush", nil, messages.CodeSecretRequired, "the secret is too weak: it has 4 bytes"},
	{"secret", "0421370421370421", nil, messages.CodeSecretRequired, "the secret is too weak: it is guessed in"},
	{"secret", "hush-hush-hush!", map[string]string{"bind": "10.0.0.5:7081"}, messages.CodeSecretRequired, "bind address 10.0.0.5:7081 is beyond loopback and the secret is too weak"},
	{"secret", "hush-hush-hush!", map[string]string{"gossip": "10.0.0.5:7946"}, messages.CodeSecretRequired, "gossip address 10.0.0.5:7946 is beyond loopback and the secret is too weak"},
	{"secret", "hush-hush-hush!", map[string]string{"advertise-host": "10.0.0.5"}, messages.CodeSecretRequired, "advertised host 10.0.0.5 is beyond loopback and the secret is too weak"},
	{"secret-file", "/does/not/exist", nil, messages.CodeInvalidArgument, "open /does/not/exist"},
	{"member-ca-file", "/ca.pem", nil, messages.CodeInvalidArgument, "the identity needs three files"},
	{"member-cert-file", "/s1.pem", nil, messages.CodeInvalidArgument, "the identity needs three files"},
	{"member-key-file", "/s1.key", nil, messages.CodeInvalidArgument, "the identity needs three files"},
	{"member-revoked-file", "/revoked", nil, messages.CodeInvalidArgument, "the identity needs three files"},
	{"token", "hush", nil, messages.CodeInvalidArgument, "token does not begin with lpt_"},
	{"token-file", "/does/not/exist", nil, messages.CodeInvalidArgument, "open /does/not/exist"},
	{"pprof", "0.0.0.0:6060", nil, messages.CodeInvalidArgument, "beyond loopback"},
	{"ui", "perhaps", nil, messages.CodeInvalidArgument, "perhaps"},
	{"ui-prefix", "limpet", nil, messages.CodeInvalidArgument, "give a path such as /limpet"},
	{"store-file", "/does/not/exist", nil, messages.CodeInvalidArgument, "open /does/not/exist"},
}

// rightSettings pass both doors.
var rightSettings = []map[string]string{
	{},
	{"retention": "-1s", "store-wait": "0s"},
	{"retention": "1s", "store-wait": "-1s", "store": "postgres://limpet@db/limpet"},
	{"listen": "0.0.0.0:7080", "secret": "sixteen bytes it"},
	{"listen": "LOCALHOST:7080"},
	{"pprof": "127.0.0.1:6060", "ui": "off", "ui-prefix": "/limpet"},
	{"bind": ":7081", "gossip": ":7946", "advertise-host": "10.0.0.5", "secret": longSecret, "join": "servers:7946"},
}

// throughBothDoors gives the settings to `limpet config` and to `limpet server`,
// and tells whether a server was started.
func throughBothDoors(t *testing.T, env map[string]string, args []string) (shown, served result, started bool) {
	t.Helper()
	shown = execute(t.Context(), env, append([]string{"config"}, args...)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, stdout, stderr := testCLI(env)
	c.start = func(context.Context, config.Values, *slog.Logger) (runningServer, error) {
		started = true
		cancel()
		return &fakeServer{done: make(chan error)}, nil
	}
	code := c.execute(ctx, append([]string{"server"}, args...))
	return shown, result{stdout.String(), stderr.String(), code}, started
}

// TestWrongSettingsAreRefusedAlike by both, however they are given, with where the
// value comes from, before anything starts.
func TestWrongSettingsAreRefusedAlike(t *testing.T) {
	settings := map[string]config.Setting{}
	for _, s := range config.Table {
		settings[s.Name] = s
	}
	tried := map[string]bool{"config": true, "address": true} // of no account to a server alone
	for _, tc := range wrongSettings {
		s := settings[tc.name]
		tried[tc.name] = true
		file := filepath.Join(t.TempDir(), "server.yaml")
		writeFile(t, file, fmt.Sprintf("# settings\n%s: %q\n", s.Key(), tc.value), 0o600)
		for way, given := range map[string]struct {
			env  map[string]string
			args []string
			from string
		}{
			"flag":        {map[string]string{}, []string{"--" + tc.name + "=" + tc.value}, "--" + tc.name},
			"environment": {map[string]string{s.Env(): tc.value}, nil, s.Env()},
			"file":        {map[string]string{}, []string{"--config", file}, file + ":2"},
		} {
			for name, value := range tc.beside {
				given.env[settings[name].Env()] = value
			}
			shown, served, started := throughBothDoors(t, given.env, given.args)
			// The hint names the command.
			shown.err = strings.ReplaceAll(shown.err, "limpet config", "limpet server")
			if shown != served || started || shown.code == exitOK || shown.out != "" {
				t.Errorf("%s %q by %s: config %+v\nserver %+v, started %v", tc.name, tc.value, way, shown, served, started)
			}
			for _, want := range []string{"error " + string(tc.code) + ":", tc.want, given.from} {
				if !strings.Contains(served.err, want) {
					t.Errorf("%s %q by %s: %s\nlacks %s", tc.name, tc.value, way, served.err, want)
				}
			}
			if strings.Contains(served.err, "hush") {
				t.Errorf("%s by %s: the error tells the secret: %s", tc.name, way, served.err)
			}
		}
	}
	for name := range settings {
		if !tried[name] {
			t.Errorf("no wrong value of %s is tried", name)
		}
	}
}

func TestRightSettingsPassBothDoors(t *testing.T) {
	for _, settings := range rightSettings {
		var args []string
		for name, value := range settings {
			args = append(args, "--"+name+"="+value)
		}
		shown, served, started := throughBothDoors(t, nil, args)
		if shown.code != exitOK || served.code != exitOK || !started {
			t.Errorf("%v: config %+v\nserver %+v, started %v", settings, shown, served, started)
		}
	}
}
