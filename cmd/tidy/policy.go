package main

// layer says what a package may import of this module, outside its tests. A
// trailing "/..." takes in all packages below.
type layer struct {
	dir  string
	may  []string
	pure purity
}

// purity of a package, outside its tests.
type purity int

const (
	// shell packages may do anything.
	shell purity = iota
	// inert packages touch neither the network, nor files, nor Proto.Actor.
	inert
	// pure packages also have no clock, no goroutine and no randomness of their own.
	pure
)

// everything may be imported by the laboratory.
var everything = []string{"..."}

// policy lists every package of the module; one that is missing is a finding.
// The order is that of the floors, from the ground up: outside its tests a
// package imports only from lines above its own. A directory that ends in "/..."
// stands for all packages below it.
var policy = []layer{
	// Messages.
	{"messages/schema", nil, pure},
	{"messages", []string{"messages/schema"}, shell}, // net/http for the names of statuses
	{"messages/api", []string{"messages"}, shell},
	{"messages/api/apiconnect", []string{"messages/api"}, shell},

	// Pure cores, and the journal's contract.
	{"actors/heap", nil, pure},
	{"actors/shrinkmap", nil, pure},
	{"actors/timeline", nil, pure},
	{"cluster/lease", nil, pure},
	{"cluster/quorum", nil, pure},
	{"cluster/notify", nil, inert},
	{"cluster/backoff", nil, inert},
	{"cluster/inquire", nil, shell},
	{"cluster/identity", nil, pure},
	{"actors/run", []string{"messages"}, pure},
	{"actors/placement", []string{"actors/heap", "messages"}, pure},
	{"actors/slots", []string{"actors/heap", "messages"}, pure},
	{"actors/attempt", []string{"messages"}, pure},
	{"actors/access", []string{"messages"}, pure},
	{"actors/stream", []string{"messages"}, pure},
	{"actors/local", []string{"actors/attempt", "messages"}, pure},
	{"actors/roster", []string{"actors/heap", "actors/run", "actors/shrinkmap", "messages"}, pure},
	{"actors/journal", []string{"cluster/notify", "messages"}, inert},
	{"actors/activation", []string{"actors/run", "actors/shrinkmap", "actors/slots", "actors/journal", "messages"}, pure},
	{"actors/projection", []string{"actors/run", "actors/roster", "actors/journal", "messages", "messages/api"}, pure},
	{"actors/sim", []string{"actors/activation", "actors/heap", "actors/projection", "actors/roster", "actors/run", "actors/placement", "actors/slots", "actors/timeline", "actors/journal", "actors/stream", "cluster/lease", "cluster/quorum", "messages"}, pure},

	// Shells.
	{"actors/journal/...", []string{"actors/journal/...", "messages"}, shell},
	{"cluster/authority", []string{"cluster/identity"}, shell},
	{"cluster/remote", []string{"cluster/identity", "messages"}, shell},
	{"cluster/gossip", []string{"cluster/identity", "cluster/inquire", "messages"}, shell},
	{"cluster", []string{"cluster/lease", "cluster/quorum", "cluster/notify", "cluster/inquire", "cluster/remote", "cluster/gossip", "cluster/identity", "messages"}, shell},
	{"cluster/clustertest", []string{"cluster", "cluster/gossip", "messages"}, shell},
	{"cluster/clustertest/bubble", nil, shell},
	{"actors/pool", nil, shell},
	{"actors/clock", []string{"cluster/notify", "actors/journal", "actors/timeline", "messages"}, shell},
	{"actors/guard", []string{"messages"}, shell},
	{"actors/definitions", []string{"actors/journal", "messages"}, shell},
	{"actors/condition", []string{"messages"}, shell},
	{"actors/usercode", []string{"messages"}, shell},
	{"actors/server", []string{"actors/clock", "actors/condition", "actors/definitions", "actors/guard", "actors/activation", "actors/projection", "actors/heap", "actors/roster", "actors/run", "actors/journal", "actors/pool", "cluster", "cluster/notify", "messages", "messages/api"}, shell},
	{"actors/server/places", []string{"actors/clock", "actors/definitions", "actors/guard", "actors/server", "actors/run", "actors/placement", "actors/journal", "cluster", "messages"}, shell},
	{"actors/tracing", []string{"actors/run", "messages"}, shell},
	{"actors/worker", []string{"actors/slots", "actors/attempt", "actors/stream", "actors/local", "actors/pool", "actors/tracing", "actors/usercode", "cluster", "messages"}, shell},
	{"actors/metrics", []string{"actors/journal", "actors/placement", "actors/roster", "actors/run", "actors/server", "actors/server/places", "actors/tracing", "actors/worker", "cluster", "messages"}, shell},
	{"actors/actorstest", []string{"actors/...", "cluster/...", "messages"}, shell}, // imported by tests only

	// Assembly.
	{"actors/gateway/ui/uitest", []string{"messages/..."}, shell},
	{"actors/gateway/ui", []string{"actors/access", "cluster/notify", "messages/..."}, shell},
	{"actors/gateway", []string{"actors/access", "actors/definitions", "actors/journal", "actors/tracing", "cluster", "messages/..."}, shell},
	{"actors/node", []string{"actors/...", "cluster/...", "messages/..."}, shell},

	// What users write against.
	{"sdk/internal/parts", []string{"actors/attempt"}, shell},
	{"sdk/codec", []string{"messages"}, shell},
	{"sdk/internal/coded", []string{"sdk/codec", "actors/attempt", "messages"}, shell},
	{"sdk", []string{"sdk/codec", "sdk/internal/coded", "sdk/internal/parts", "cluster/inquire", "messages/...", "actors/attempt", "actors/usercode"}, shell},
	{"sdk/worker", []string{"sdk", "sdk/codec", "sdk/internal/coded", "sdk/internal/parts", "actors/...", "cluster", "messages/..."}, shell},
	{"sdk/sdktest", []string{"sdk/...", "actors/...", "cluster/...", "messages/..."}, shell},

	// The product; the laboratory is all other commands.
	{"cmd/limpet/...", []string{"cmd/limpet/...", "sdk/...", "actors/...", "cluster/...", "messages/..."}, shell},
	{"cmd/...", everything, shell},
}

// allMay is what every package with a clock may import.
var allMay = []string{"cluster/backoff"}

// testsMay is what the tests of any package may import besides: suites and
// stores made for tests.
var testsMay = []string{"actors/actorstest", "actors/attempt", "actors/gateway/ui/uitest", "actors/heap", "actors/projection", "actors/journal/...", "actors/run", "actors/server", "actors/worker",
	"cluster/...", "cmd/internal/...", "sdk/..."}

// impureImports by purity, with the reason that is reported.
var impureImports = map[purity]map[string]string{
	inert: {
		"net": "no network", "os": "no operating system", "syscall": "no operating system",
		"io/ioutil":                         "no operating system",
		"github.com/asynkron/protoactor-go": "no Proto.Actor",
	},
	pure: {
		"crypto/rand": "randomness comes in as an argument",
		"log/slog":    "a core returns what is to be said", "log": "a core returns what is to be said",
	},
}

// impureCalls of package time in a pure package.
var impureCalls = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"}

// seededRand are the names of math/rand that draw from a given seed only.
var seededRand = []string{"New", "NewPCG", "NewChaCha8", "NewSource", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

// behind are libraries that one package hides from all others, their tests too.
var behind = []struct{ path, by string }{
	{"github.com/hashicorp/memberlist", "cluster/gossip"},
}

// wrapped functions are called by one package only, which makes them safe for
// the others.
var wrapped = []struct{ path, name, by string }{
	{"testing/synctest", "Test", "cluster/clustertest/bubble"},
}

// topLevel is what may lie in the root, beside names that begin with a dot.
var topLevel = []string{"actors", "cluster", "messages", "sdk", "cmd",
	"go.mod", "go.sum", "Makefile", "README.md", "LICENSE"}

// Lengths in lines. Tests are allowed more: a table is not a train of thought.
const (
	functionLinesMax     = 70
	fileLinesMax         = 500
	testFunctionLinesMax = 120
	testFileLinesMax     = 800
)

// vagueNames say nothing of what a thing is.
var vagueNames = []string{"util", "utils", "common", "manager", "managers", "helper", "helpers", "impl"}

// foreignHosts are hosts of package registries: how a machine gets its modules
// is not the repository's business. Written in two halves, for this file is
// read as well.
var foreignHosts = []string{
	"proxy." + "golang.org", "sum." + "golang.org", "goproxy." + "io", "goproxy." + "cn",
	"registry." + "npmjs.org", "pypi." + "org", "crates." + "io", "index." + "docker.io", "ghcr." + "io",
	"artifact" + "ory", "nexus" + "-repo",
}
