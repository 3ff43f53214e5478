// Package config holds the one table of settings that a server and the
// commands that talk to one take, and finds out what is in force: each setting
// is a flag, a variable of the environment and a key of a file, and all three
// names derive from one.
//
// Data flow: Table → Register makes the flags → Resolve fills what no flag gave
// from the environment, then from the file → Values, with the Origin of each.
//
// Invariants: a flag wins over the environment, the environment over the file,
// the file over the default. A secret is in no error and in no listing. What
// Table does not name is refused in a file.
//
// Why not a library: knadh/koanf merges all sources into one map, and
// peterbourgon/ff sets flags as it reads. Neither keeps which source and which
// line of the file a value is from, and every error and `limpet config` say that.
// What remains for them is the order of four sources.
//
// Imports cluster (the names of presets, secret files), access (how tokens begin), messages.
package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
)

// Values of all settings.
type Values struct {
	Config     string
	Address    []string
	Secret     string
	SecretFile string
	// Files of the identity of the server, among members.
	MemberCAFile, MemberCertFile, MemberKeyFile, MemberRevokedFile string
	Codec                                                          string
	Token                                                          string
	TokenFile                                                      string

	ID            string
	Store         string
	StoreFile     string
	StoreWait     time.Duration
	Listen        string
	Bind          string
	Gossip        string
	AdvertiseHost string
	Join          []string
	Preset        string
	Retention     time.Duration
	EventsKept    time.Duration
	UnservedAfter time.Duration
	// StreamBytesMax limits what a run writes to streams.
	StreamBytesMax int
	// How runs are placed: see placement.Config.
	MovesPerSecond int
	HeldLoadBound  float64
	HeldLoadFree   float64
	UI             string
	UIPrefix       string
	Pprof          string
	LogLevel       string
	LogJSON        bool
}

// Scope says who takes a setting.
type Scope int

const (
	// Shared settings are of the server and of the commands that talk to one.
	Shared Scope = iota
	// Server settings are of the server only.
	Server
)

// Setting is a row of the table.
type Setting struct {
	// Name is that of the flag; Env and Key derive from it.
	Name string
	// Default as it would be given. Empty means what Help says.
	Default string
	// Help is one line, lower case.
	Help  string
	Scope Scope

	// begins is how a text begins, if it is given.
	begins string
	// choices are the only values, if there are any.
	choices []string
	// fault says what is wrong with a text; "" for nothing. nil: any is right.
	fault func(text string) string
	// A number is -1, or from least to most.
	least, most float64
	// A duration is -1s, or 0 if that is off, or from shortest to longest.
	shortest, longest time.Duration
	off               bool
	// hidden values are never shown; a URL is shown without its password.
	hidden, url bool
	// from names the setting of a file that holds the value.
	from string
	// noKey: the file does not say where the file is.
	noKey bool
	field func(*Values) any
}

const century = 100 * 365 * 24 * time.Hour

// codecFault is for a URL that nobody can ask.
func codecFault(text string) string {
	scheme, _, isURL := strings.Cut(text, "://")
	if isURL && scheme != "http" && scheme != "https" && !strings.ContainsAny(scheme, " /") {
		return "is neither a program nor a URL of http or https"
	}
	return ""
}

// Env is the setting's variable of the environment.
func (s Setting) Env() string { return "LIMPET_" + strings.ToUpper(s.underscored()) }

// Key is the setting's key in the file; "" for the file itself.
func (s Setting) Key() string {
	if s.noKey {
		return ""
	}
	return s.underscored()
}

func (s Setting) underscored() string { return strings.ReplaceAll(s.Name, "-", "_") }

// Kind of the value: text, list, number, duration, yes or no.
func (s Setting) Kind() string {
	switch s.field(new(Values)).(type) {
	case *[]string:
		return "list"
	case *time.Duration:
		return "duration"
	case *bool:
		return "true or false"
	case *int:
		return "whole number"
	case *float64:
		return "number"
	}
	return "text"
}

// Table holds every setting, in the order that they are shown in.
var Table = []Setting{
	{Name: "config", Help: "YAML file with settings", noKey: true,
		field: func(v *Values) any { return &v.Config }},
	{Name: "address", Default: "127.0.0.1:7080", Help: "API of the servers to talk to, host:port or URL; with several, one that answers",
		field: func(v *Values) any { return &v.Address }},
	{Name: "secret", Help: "secret of the cluster, 32 random characters; better in a file, for others can see the arguments of a process", hidden: true, from: "secret-file",
		field: func(v *Values) any { return &v.Secret }},
	{Name: "secret-file", Help: "file with the secret, which only its owner and group can read",
		field: func(v *Values) any { return &v.SecretFile }},
	{Name: "codec", Help: "what encodes and decodes payloads for the commands: a program with its arguments, or a URL; see go doc ./sdk/codec", fault: codecFault,
		field: func(v *Values) any { return &v.Codec }},
	{Name: "token", Help: "token of the API to call with, in place of the secret; better in a file or in the environment", hidden: true, begins: access.TokenPrefix, from: "token-file",
		field: func(v *Values) any { return &v.Token }},
	{Name: "token-file", Help: "file with the token, which only its owner and group can read",
		field: func(v *Values) any { return &v.TokenFile }},

	{Name: "id", Help: "id of the server, the same at each start (default server/HOSTNAME)", Scope: Server,
		field: func(v *Values) any { return &v.ID }},
	{Name: "store", Default: "sqlite:limpet-data/journal.db", Help: "the journal: postgres://… for several servers, sqlite:PATH, or memory (lost at the end)", Scope: Server, url: true, from: "store-file",
		field: func(v *Values) any { return &v.Store }},
	{Name: "store-file", Help: "file with the store, for a database URL with a password", Scope: Server,
		field: func(v *Values) any { return &v.StoreFile }},
	{Name: "store-wait", Default: "2m", Help: "how long to wait at the start for a database that does not answer; -1s means for ever", Scope: Server, longest: century,
		field: func(v *Values) any { return &v.StoreWait }},
	{Name: "listen", Default: "127.0.0.1:7080", Help: "host:port of the API; port 0 takes any", Scope: Server,
		field: func(v *Values) any { return &v.Listen }},
	{Name: "bind", Default: "127.0.0.1:0", Help: "host:port of the actors; port 0 takes any", Scope: Server,
		field: func(v *Values) any { return &v.Bind }},
	{Name: "gossip", Default: "127.0.0.1:7946", Help: "IP:port of the membership, which others join by, TCP and UDP", Scope: Server,
		field: func(v *Values) any { return &v.Gossip }},
	{Name: "advertise-host", Help: "IP or name that others reach bind and gossip by; needed when these are of every address, such as :7946", Scope: Server,
		field: func(v *Values) any { return &v.AdvertiseHost }},
	{Name: "member-ca-file", Help: "PEM file with the authorities of the certificates of members, see limpet ca --help; with it a member is what its certificate says", Scope: Server,
		field: func(v *Values) any { return &v.MemberCAFile }},
	{Name: "member-cert-file", Help: "PEM file with the certificate of this server as a member", Scope: Server,
		field: func(v *Values) any { return &v.MemberCertFile }},
	{Name: "member-key-file", Help: "PEM file with the key of that certificate", Scope: Server,
		field: func(v *Values) any { return &v.MemberKeyFile }},
	{Name: "member-revoked-file", Help: "file with serial numbers and identities of members that are revoked, one a line", Scope: Server,
		field: func(v *Values) any { return &v.MemberRevokedFile }},
	{Name: "join", Help: "gossip addresses of servers to join, one that answers is enough; a name stands for all its addresses; its own may be among them", Scope: Server,
		field: func(v *Values) any { return &v.Join }},
	{Name: "preset", Default: "local", Help: "timing of the membership: local, lan or wan; the same for all members", Scope: Server, choices: []string{"local", "lan", "wan"},
		field: func(v *Values) any { return &v.Preset }},
	{Name: "retention", Default: "168h", Help: "how long finished runs are kept; -1s means for ever", Scope: Server, shortest: time.Second, longest: century,
		field: func(v *Values) any { return &v.Retention }},
	{Name: "events-kept", Default: "1h", Help: "how long events are kept, for steps that look back; -1s means for ever; the same on all servers", Scope: Server, shortest: 10 * time.Second, longest: century,
		field: func(v *Values) any { return &v.EventsKept }},
	{Name: "stream-bytes-max", Default: strconv.Itoa(messages.StreamBytesMax), Help: "how much the steps of a run may write to streams, in bytes; -1 means no limit; the same on all servers", Scope: Server, least: 1, most: 1 << 40,
		field: func(v *Values) any { return &v.StreamBytesMax }},
	{Name: "unserved-after", Default: "24h", Help: "how long no worker may serve a workflow until events start none of its runs; 0 means for ever", Scope: Server, off: true, shortest: time.Second, longest: century,
		field: func(v *Values) any { return &v.UnservedAfter }},
	{Name: "moves-per-second", Default: "200", Help: "how many runs may leave draining workers in a second, for each pool; -1 means no limit", Scope: Server, least: 1, most: 1e6,
		field: func(v *Values) any { return &v.MovesPerSecond }},
	{Name: "held-load-bound", Default: "1.25", Help: "how many times the mean load a worker may have that is preferred for the shared state it holds; -1 means that what workers hold is of no account", Scope: Server, least: 1, most: 1000,
		field: func(v *Values) any { return &v.HeldLoadBound }},
	{Name: "held-load-free", Default: "0.25", Help: "share of its slots up to which such a worker is preferred whatever the mean is; -1 means none", Scope: Server, least: 0.001, most: 1,
		field: func(v *Values) any { return &v.HeldLoadFree }},
	{Name: "ui", Default: "on", Help: "the dashboard at /ui/ of the API: on, read-only or off", Scope: Server, choices: []string{"on", "read-only", "off"},
		field: func(v *Values) any { return &v.UI }},
	{Name: "ui-prefix", Help: "path that a proxy puts before /ui/ for browsers, and takes away; such as /limpet", Scope: Server,
		field: func(v *Values) any { return &v.UIPrefix }},
	{Name: "pprof", Help: "host:port of loopback at which net/http/pprof serves profiles of the process; none by default", Scope: Server,
		field: func(v *Values) any { return &v.Pprof }},
	{Name: "log-level", Default: "info", Help: "debug, info, warn or error; logs go to stderr", Scope: Server, choices: []string{"debug", "info", "warn", "error"},
		field: func(v *Values) any { return &v.LogLevel }},
	{Name: "log-json", Default: "false", Help: "log JSON", Scope: Server,
		field: func(v *Values) any { return &v.LogJSON }},
}

// find returns the row of a name.
func find(name string) (Setting, bool) {
	for _, s := range Table {
		if s.Name == name {
			return s, true
		}
	}
	return Setting{}, false
}
