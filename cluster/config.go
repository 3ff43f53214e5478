package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/oklog/ulid/v2"

	"github.com/limpetrun/limpet/cluster/gossip"
	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/cluster/remote"
	"github.com/limpetrun/limpet/messages"
)

// Limits of what a member gossips: its name travels in each packet about it,
// and memberlist panics on more than 512 bytes of the rest.
const (
	idLengthMax     = 128
	addressBytesMax = 262
)

// Kind is a kind of virtual actors that this server activates.
type Kind struct {
	Name string
	// Activate returns the actor of an identity that this server owns, which
	// it starts if it does not run yet. It is called from several goroutines,
	// also inside an actor of the node: it must not wait for anything. An
	// error UNAVAILABLE is asked again, others go to whoever resolves.
	Activate func(identity string) (*actor.PID, error)
}

// Config of a node. The zero value of each field but Role and ID has a
// default.
type Config struct {
	Role Role
	// ID of the worker or server, the same after a restart: 1 to 128 of
	// letters, digits and ._:/-
	ID string
	// Incarnation of the process. Defaults to a new ULID: incarnations sort by
	// the time of their start.
	Incarnation string
	// State at the start. Defaults to ready for a server and to joining for a
	// worker. A ready server that joins others is joining until it has: alone
	// in its view it would own all shards.
	State State
	// Pool of a worker.
	Pool string

	// BindAddress of the actors' remoting, host:port. Defaults to 127.0.0.1:0,
	// a port that the system chooses.
	BindAddress string
	// GossipAddress of memberlist, IP:port, TCP and UDP. Defaults to
	// 127.0.0.1:0.
	GossipAddress string
	// AdvertiseHost is the host that others reach both addresses by. Defaults
	// to the hosts bound to; required when those are not specific (0.0.0.0).
	AdvertiseHost string
	// Join holds gossip addresses of members, any of them; one that answers is
	// enough. Empty starts a cluster of its own, which others may join, unless a
	// server finds others by their heartbeats.
	Join []string
	// JoinTimeout after which Start gives up joining. Defaults to 30 s; -1
	// goes on until its context ends.
	JoinTimeout time.Duration
	// Secret of the cluster, shared by all of its members: gossip is encrypted by it, and
	// who connects proves to have it. It has to be long and random (32 characters), for
	// who records gossip may guess at leisure. Required beyond loopback. At least
	// SecretBytesMin.
	Secret string
	// Identity are the files by which this member proves who it is, and by which it
	// knows others. With them a member is what its certificate says, and nobody else
	// can be it; without them whoever has the secret may be any member.
	Identity IdentityFiles

	// Heartbeats of a server and of the others, by which it tells the death of
	// others from its own isolation; without them every verdict counts. Nil for a
	// worker, and for the only server of a cluster.
	Heartbeats Heartbeats
	// Store is the identity of a server's store: a member of another one is refused.
	// Empty is not compared.
	Store string
	// Preset of the timing. Defaults to LocalConfig.
	Preset Preset
	// Kinds that a server activates.
	Kinds []Kind
	// Prepare is called when the node has its actor system and address, but
	// before anybody can know of it: for what others will send to, and for
	// what Activate needs. Start returns its error. Nil does nothing.
	Prepare func(*Node) error
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Transport of memberlist. Defaults to TCP and UDP; tests give one in
	// memory.
	Transport gossip.Transport
	// Listen and Dial of the remoting. Default to TCP; tests give one in
	// memory.
	Listen func(address string) (net.Listener, error)
	Dial   func(ctx context.Context, address string) (net.Conn, error)

	// anything: see remote.Config.
	anything bool
}

// withDefaults fills what is empty.
func (c Config) withDefaults() Config {
	if c.Incarnation == "" {
		c.Incarnation = strings.ToLower(ulid.Make().String())
	}
	if c.State == "" {
		c.State = StateReady
		if c.Role == RoleWorker {
			c.State = StateJoining
		}
	}
	if c.BindAddress == "" {
		c.BindAddress = "127.0.0.1:0"
	}
	if c.GossipAddress == "" {
		c.GossipAddress = "127.0.0.1:0"
	}
	if c.JoinTimeout == 0 {
		c.JoinTimeout = 30 * time.Second
	}
	if c.Preset == (Preset{}) {
		c.Preset = LocalConfig()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Listen == nil {
		c.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return c
}

// Validate reports every fault of the configuration: INVALID_ARGUMENT, or
// SECRET_REQUIRED for one that listens beyond loopback without a secret.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Role != RoleServer && c.Role != RoleWorker {
		fault("role %q is neither %q nor %q", c.Role, RoleServer, RoleWorker)
	}
	if c.State != StateJoining && c.State != StateReady && c.State != StateDraining {
		fault("state %q is unknown", c.State)
	}
	checkName(fault, "id", c.ID)
	checkName(fault, "incarnation", c.Incarnation)
	if c.Pool != "" {
		checkName(fault, "pool", c.Pool)
	}
	c.addressFaults(fault)
	c.identityFaults(fault)
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "node configuration: %w", errors.Join(faults...))
	}
	return c.checkSecret()
}

// identityFaults checks that no file is missing.
func (c Config) identityFaults(fault func(string, ...any)) {
	if given := c.Identity; given != (IdentityFiles{}) && (given.CA == "" || given.Certificate == "" || given.Key == "") {
		fault("the identity needs three files: those of the authority, of the certificate and of its key")
	}
}

// checkSecret returns SECRET_REQUIRED for one that is missing or soon guessed.
func (c Config) checkSecret() error {
	for _, at := range [][2]string{{"bind address", c.BindAddress}, {"gossip address", c.GossipAddress}, {"advertised host", c.AdvertiseHost}} {
		if at[1] == "" {
			continue
		}
		if err := CheckSecret(at[0], at[1], c.Secret); err != nil {
			return err
		}
	}
	if c.Secret != "" { // Others of this machine may guess, too.
		return checkStrength("", c.Secret)
	}
	return nil
}

// SecretBytesMin is the least length of a secret.
const SecretBytesMin = identity.SecretBytesMin

// IdentityFiles are where a member finds its certificate and whom it may believe.
type IdentityFiles = remote.Files

// CheckSecret returns SECRET_REQUIRED for a host, or host:port, that others than this
// machine reach, without a secret or with one that is soon guessed.
func CheckSecret(what, address, secret string) error {
	if IsLoopback(address) {
		return nil
	}
	if secret == "" {
		return messages.Errorf(messages.CodeSecretRequired, "%s %s is beyond loopback and there is no secret", what, address)
	}
	return checkStrength(what+" "+address+" is beyond loopback and ", secret)
}

// checkStrength refuses a secret that is soon guessed.
func checkStrength(where, secret string) error {
	if why := identity.WeakSecret(secret); why != "" {
		return messages.Errorf(messages.CodeSecretRequired, "%sthe secret is too weak: it %s; `openssl rand -hex 32` draws one", where, why)
	}
	return nil
}

// CheckAddress returns INVALID_ARGUMENT for what is not host:port.
func CheckAddress(what, address string) error {
	var first error
	checkAddress(func(format string, args ...any) {
		if first == nil {
			first = messages.Errorf(messages.CodeInvalidArgument, format, args...)
		}
	}, what, address)
	return first
}

// addressFaults checks the addresses, but not that they are loopback's.
func (c Config) addressFaults(fault func(string, ...any)) {
	checkAddress(fault, "bind address", c.BindAddress)
	if host := checkAddress(fault, "gossip address", c.GossipAddress); host != "" && net.ParseIP(host) == nil {
		fault("gossip address %q: the host has to be an IP", c.GossipAddress)
	}
	for _, address := range []string{c.BindAddress, c.GossipAddress} {
		if host, _, _ := net.SplitHostPort(address); c.AdvertiseHost == "" && (host == "" || net.ParseIP(host).IsUnspecified()) && strings.Contains(address, ":") {
			fault("%s is every address of this machine: name the one to advertise", address)
		}
	}
	for _, seed := range c.Join {
		checkAddress(fault, "join address", seed)
	}
}

// checkName checks what becomes part of a member's name or metadata.
func checkName(fault func(string, ...any), what, name string) {
	if name == "" {
		fault("%s is empty", what)
		return
	}
	if len(name) > idLengthMax {
		fault("%s of %d bytes does not fit into what a member gossips: at most %d", what, len(name), idLengthMax)
		return
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !(c >= '0' && c <= '9') && !strings.ContainsRune("._:/-", rune(c)) {
			fault("%s %q: %q is not allowed, only letters, digits and ._:/-", what, name, c)
			return
		}
	}
}

// checkAddress returns the host.
func checkAddress(fault func(string, ...any), what, address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		fault("%s %q is not host:port: %w", what, address, err)
		return ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		fault("%s %q: the port is not a number from 0 to 65535", what, address)
	}
	if len(address) > addressBytesMax {
		fault("%s of %d bytes is too long: at most %d", what, len(address), addressBytesMax)
	}
	return host
}

// IsLoopback says whether a host or host:port is reached from this machine
// only. A host name other than localhost is not trusted to be.
func IsLoopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
