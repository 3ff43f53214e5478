package worker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// Variable of the environment that a worker is configured by.
type Variable struct {
	Name string
	// Help is one line, lower case.
	Help string

	// old is a name that is still understood, with a warning; "" is none.
	old string
	set func(c *Config, text string) error
}

// environment is the list that ConfigFromEnv and its documentation come from. A
// name without WORKER in it means the same to a server.
var environment = []Variable{
	{"LIMPET_WORKER_ID", "id of the worker, the same at each start (default HOSTNAME/PROGRAM)", "", text(func(c *Config) *string { return &c.ID })},
	{"LIMPET_WORKER_JOIN", "gossip addresses of servers, host:port with commas; a name stands for all its addresses", "LIMPET_JOIN", func(c *Config, s string) error {
		c.Join = elements(s)
		return nil
	}},
	{"LIMPET_WORKER_JOIN_TIMEOUT", "how long to look for a server at the start (default 30s); -1s means for ever", "LIMPET_JOIN_TIMEOUT", duration(func(c *Config) *time.Duration { return &c.JoinTimeout })},
	{"LIMPET_SECRET", "secret of the cluster; better in a file", "", text(func(c *Config) *string { return &c.Secret })},
	{"LIMPET_SECRET_FILE", "file with the secret, which only its owner and group can read", "", func(c *Config, path string) (err error) {
		c.Secret, err = cluster.ReadSecretFile(path)
		return err
	}},
	{"LIMPET_MEMBER_CA_FILE", "PEM file with the authorities of the certificates of members", "", text(func(c *Config) *string { return &c.Identity.CA })},
	{"LIMPET_MEMBER_CERT_FILE", "PEM file with the certificate of this worker as a member", "", text(func(c *Config) *string { return &c.Identity.Certificate })},
	{"LIMPET_MEMBER_KEY_FILE", "PEM file with the key of that certificate", "", text(func(c *Config) *string { return &c.Identity.Key })},
	{"LIMPET_MEMBER_REVOKED_FILE", "file with serial numbers and identities of members that are revoked", "", text(func(c *Config) *string { return &c.Identity.Revoked })},
	{"LIMPET_WORKER_SLOTS", "how many attempts run at once (default GOMAXPROCS)", "LIMPET_SLOTS", number(func(c *Config) *int { return &c.Slots })},
	{"LIMPET_WORKER_STICKY_RUNS_MAX", "how many live sticky runs may be bound to the worker (default no limit)", "LIMPET_STICKY_RUNS_MAX", number(func(c *Config) *int { return &c.StickyRunsMax })},
	{"LIMPET_WORKER_KEPT_MAX", "how many steps that do nothing but wait are kept, before the longest are suspended early (default 10000)", "", number(func(c *Config) *int { return &c.KeptMax })},
	{"LIMPET_WORKER_KEPT_BYTES_MAX", "how many bytes the local state of their runs declares (default no limit)", "", number64(func(c *Config) *int64 { return &c.KeptBytesMax })},
	{"LIMPET_WORKER_SHARED_LOCALS_MAX", "how many shared values of local state the worker has at once (default 1024)", "LIMPET_SHARED_LOCALS_MAX", number(func(c *Config) *int { return &c.SharedLocalsMax })},
	{"LIMPET_WORKER_SHARED_LOCALS_BYTES_MAX", "how many bytes they declare together (default no limit)", "LIMPET_SHARED_LOCALS_BYTES_MAX", number64(func(c *Config) *int64 { return &c.SharedLocalsBytesMax })},
	{"LIMPET_WORKER_SHARED_LOCALS_IDLE", "how long a shared value stays that nobody uses (default 5m); 0s is not at all", "LIMPET_SHARED_LOCALS_IDLE", func(c *Config, s string) error {
		d, err := time.ParseDuration(s)
		if c.SharedLocalsIdle = d; d <= 0 {
			c.SharedLocalsIdle = NoIdle
		}
		return err
	}},
	{"LIMPET_WORKER_LABELS", "labels, key=value with commas", "LIMPET_LABELS", func(c *Config, s string) (err error) {
		c.Labels, err = labels(s)
		return err
	}},
	{"LIMPET_WORKER_POOL", "pool that the worker serves (default \"default\")", "LIMPET_POOL", text(func(c *Config) *string { return &c.Pool })},
	{"LIMPET_WORKER_BIND", "host:port of the actors (default 127.0.0.1:0)", "LIMPET_BIND", text(func(c *Config) *string { return &c.BindAddress })},
	{"LIMPET_WORKER_GOSSIP", "IP:port of the membership, TCP and UDP (default 127.0.0.1:0)", "LIMPET_GOSSIP", text(func(c *Config) *string { return &c.GossipAddress })},
	{"LIMPET_WORKER_ADVERTISE_HOST", "IP or name that others reach both by; needed when they are of every address, such as :7946", "LIMPET_ADVERTISE_HOST", text(func(c *Config) *string { return &c.AdvertiseHost })},
	{"LIMPET_PRESET", "timing of the membership: local (default), lan or wan; the same as the servers'", "", func(c *Config, name string) (err error) {
		c.Preset, err = cluster.PresetNamed(name)
		return err
	}},
	{"LIMPET_WORKER_METRICS_LISTEN", "host:port of the worker's metrics for Prometheus, GET /metrics (default none); beyond loopback they are read with the secret", "", text(func(c *Config) *string { return &c.MetricsListen })},
	{"LIMPET_WORKER_GRACE", "how long running attempts may go on when the worker is told to stop (default 30s); 0s is not at all", "LIMPET_GRACE", func(c *Config, s string) error {
		d, err := time.ParseDuration(s)
		if c.Grace = d; d <= 0 {
			c.Grace = NoGrace
		}
		return err
	}},
	{"LIMPET_WORKER_END_IF_HELD_FOR", "how long a function that does not return may hold a slot until the worker ends with SLOT_HELD, for its supervisor to start it again (default 0s, for ever)", "", duration(func(c *Config) *time.Duration { return &c.EndIfHeldFor })},
}

// Environment returns the variables that ConfigFromEnv reads.
func Environment() []Variable { return slices.Clone(environment) }

// ConfigFromEnv returns a Config for a worker that its deployment configures:
// by the variables that Environment lists. A variable that is empty or not set
// leaves its field zero, which is the field's default. Set what the program
// itself decides on the result, then call New, which checks it all.
//
// LIMPET_SECRET, LIMPET_SECRET_FILE, LIMPET_MEMBER_… and LIMPET_PRESET mean the same to servers.
// All others begin with LIMPET_WORKER_. LIMPET_JOIN is understood for
// LIMPET_WORKER_JOIN where that is empty or not set, and so are the other names
// without WORKER but LIMPET_ID, LIMPET_METRICS_LISTEN and LIMPET_END_IF_HELD_FOR; New then warns of each in the log.
//
// The error is INVALID_ARGUMENT and names each variable that cannot be read.
func ConfigFromEnv() (Config, error) { return configFrom(os.Getenv) }

func configFrom(getenv func(string) string) (Config, error) {
	var c Config
	var faults []error
	if getenv("LIMPET_SECRET") != "" && getenv("LIMPET_SECRET_FILE") != "" {
		faults = append(faults, errors.New("both LIMPET_SECRET and LIMPET_SECRET_FILE are given: give one"))
	}
	for _, v := range environment {
		name, value := v.Name, getenv(v.Name)
		if value == "" && v.old != "" {
			if name, value = v.old, getenv(v.old); value != "" {
				c.renamed = append(c.renamed, v)
			}
		}
		if value == "" {
			continue
		}
		if err := v.set(&c, value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(faults) > 0 {
		return Config{}, messages.Errorf(messages.CodeInvalidArgument, "environment of the worker: %w", errors.Join(faults...))
	}
	return c, nil
}

// warnOfOldNames says which variables gave their value by an old name.
func (c Config) warnOfOldNames() {
	for _, v := range c.renamed {
		c.Logger.Warn("a variable of the environment has a new name for workers: give it by that one", "old", v.old, "new", v.Name)
	}
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) error {
		*field(c) = s
		return nil
	}
}

func number(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		*field(c) = n
		return nil
	}
}

func number64(field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if *field(c) = n; err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		return nil
	}
}

func duration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		*field(c), err = time.ParseDuration(s)
		return err
	}
}

// elements of a list with commas; empty ones are left out.
func elements(s string) []string {
	var all []string
	for element := range strings.SplitSeq(s, ",") {
		if element = strings.TrimSpace(element); element != "" {
			all = append(all, element)
		}
	}
	return all
}

func labels(s string) (map[string]string, error) {
	all := map[string]string{}
	for _, pair := range elements(s) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not key=value", pair)
		}
		key = strings.TrimSpace(key)
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("key %q is given twice", key)
		}
		all[key] = strings.TrimSpace(value)
	}
	return all, nil
}
