package cluster

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/limpetrun/limpet/messages"
)

// How often a node that has seeds contacts them again: a partition that lasted
// longer than memberlist remembers the dead heals by this alone.
const (
	rejoinInterval      = 10 * time.Second
	rejoinIntervalAlone = 200 * time.Millisecond
	lostMax             = 16
	lostAge             = 24 * time.Hour
)

// listConfig returns memberlist's configuration.
func (m *membership) listConfig() (*memberlist.Config, error) {
	c := m.config
	host, port, err := net.SplitHostPort(c.GossipAddress)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "gossip address %s: %w", c.GossipAddress, err)
	}
	mc := c.Preset.memberlist()
	// Packets are small, and each compressor that is made for one is not.
	mc.EnableCompression = false
	mc.Name = memberName(c.ID, c.Incarnation)
	mc.Delegate, mc.Events = m.events, m.events
	mc.Logger = listLogger(c.Logger)
	mc.Transport = c.Transport
	if mc.SecretKey, err = gossipKey(c.Secret); err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "deriving keys: %w", err)
	}
	mc.BindAddr = host
	if mc.BindPort, err = net.LookupPort("tcp", port); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "gossip address %s: %w", c.GossipAddress, err)
	}
	mc.AdvertisePort = mc.BindPort
	if c.AdvertiseHost != "" {
		ip, err := net.ResolveIPAddr("ip", c.AdvertiseHost)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "advertised host %s: %w", c.AdvertiseHost, err)
		}
		mc.AdvertiseAddr = ip.String()
	}
	return mc, nil
}

// join contacts the seeds until one answers, or another server that lives does,
// JOIN_FAILED after the timeout.
func (m *membership) join(ctx context.Context) error {
	seeds, timeout := m.config.Join, m.config.JoinTimeout
	if len(seeds) == 0 {
		return nil
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	wait := backoff{first: 100 * time.Millisecond, most: 2 * time.Second}
	for {
		cause := m.contact(seeds)
		m.flush()
		if cause == "" || m.joinLiving(ctx) {
			return nil
		}
		pause := wait.next()
		m.config.Logger.Warn("join " + cause + ", trying again in " + pause.Round(time.Millisecond).String())
		if !sleep(ctx, pause) {
			return messages.Errorf(messages.CodeJoinFailed, "join %s", cause)
		}
	}
}

// joinLiving contacts the servers whose heartbeats are read: the seeds may be gone
// for good. It returns whether one of them is in the view.
func (m *membership) joinLiving(ctx context.Context) bool {
	if m.filter == nil {
		return false
	}
	m.filter.survey(ctx)
	m.contactLost()
	m.flush()
	return m.seesAnotherServer(m.current.Load().view)
}

// contact returns why none of the seeds answered: "" if one did. It asks all at
// once: one that is out of reach keeps who asks waiting for a whole timeout.
func (m *membership) contact(seeds []string) string {
	causes := make([]string, len(seeds))
	var asked sync.WaitGroup
	for i, seed := range seeds {
		asked.Go(func() {
			if _, err := m.list.Join([]string{seed}); err != nil {
				causes[i] = seed + ": " + rootCause(err)
			}
		})
	}
	asked.Wait()
	if slices.Contains(causes, "") {
		return ""
	}
	return strings.Join(causes, "; ")
}

// rootCause shortens memberlist's error, which is text around text, to what
// the user can do something about.
func rootCause(err error) string {
	s := strings.TrimSpace(err.Error())
	for _, known := range []string{"connection refused", "i/o timeout", "no such host", "no route to host", "network is unreachable"} {
		if strings.Contains(s, known) {
			return known
		}
	}
	if i := strings.LastIndex(s, "failed to "); i >= 0 {
		s = s[i:]
	}
	if strings.Contains(s, "EOF") || strings.Contains(s, "decrypt") || strings.Contains(s, "encrypt") {
		s = "it answers but does not understand: is the secret the same? (" + s + ")"
	}
	return s
}

// rejoinLoop contacts the seeds, and servers that were lost, for ever: seldom
// while all is well, often while no other server is in the view, or this one is
// cut off.
func (m *membership) rejoinLoop(ctx context.Context) {
	last := time.Now()
	for {
		state := m.current.Load()
		interval := rejoinInterval
		// One that is cut off has those that it misses in its view.
		if m.filter.isCutOff() || !m.seesAnotherServer(state.view) {
			interval = rejoinIntervalAlone
		}
		t := time.NewTimer(interval - time.Since(last))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-state.changed:
			t.Stop()
			continue
		case address := <-m.introductions:
			t.Stop()
			if cause := m.contact([]string{address}); cause != "" {
				m.config.Logger.Debug("introduction " + cause)
			}
			continue
		case <-t.C:
		}
		last = time.Now()
		m.rejoin()
	}
}

// rejoin contacts the seeds and the servers that were lost at the same time: who
// does not answer takes a whole timeout.
func (m *membership) rejoin() {
	var seeds sync.WaitGroup
	seeds.Go(func() {
		self := m.Self().GossipAddress
		others := slices.DeleteFunc(slices.Clone(m.config.Join), func(seed string) bool { return seed == self })
		if cause := m.contact(others); cause != "" {
			m.config.Logger.Debug("rejoin " + cause)
		}
	})
	m.contactLost()
	seeds.Wait()
}

func (m *membership) seesAnotherServer(v *View) bool {
	name := m.Self().Name
	return slices.ContainsFunc(v.servers, func(s Member) bool { return s.Name != name })
}

// knows implements acquaintances.
func (m *membership) knows(name string) bool {
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	_, live := m.events.live[name]
	return live
}

// broke implements acquaintances.
func (m *membership) broke(name, address string) { m.lookout.broken(name, address) }

// met implements acquaintances.
func (m *membership) met(name string) {
	if m.events.anyBuried.Load() && m.events.dig(name) {
		m.config.Logger.Warn("a member that was taken for ended is heard", "member", name)
	}
}

// introduce implements acquaintances: it exchanges all news with the process if
// that is in the view, or was started anew, under its id, at the address of a
// member that is. Another process may be of another cluster.
func (m *membership) introduce(name, address string) {
	id, _, _ := strings.Cut(name, "~")
	v := m.current.Load().view
	i := slices.IndexFunc(v.Members, func(o Member) bool {
		return o.Name == name || o.WorkerID == id && o.Address == address
	})
	if i >= 0 {
		m.visit(v.Members[i])
	}
}

// visit exchanges all news with a member. It does not wait.
func (m *membership) visit(member Member) {
	select {
	case m.introductions <- member.GossipAddress:
	default:
	}
}

// lostServer was in the view until a time.
type lostServer struct {
	address string
	at      time.Time
}

// rememberServers keeps the servers that left the view, at most lostMax for at
// most lostAge: when the only seed is gone for good, they are the way back
// into the cluster after a partition.
func (m *membership) rememberServers(old, new *View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range new.Members {
		delete(m.lost, s.Name)
	}
	for _, s := range old.Members {
		if _, live := new.Member(s.Name); !live && s.Role == RoleServer && len(m.lost) < lostMax {
			m.lost[s.Name] = lostServer{s.GossipAddress, time.Now()}
		}
	}
}

// contactLost joins the lost servers that answer. A ping carries the name of
// who is meant, so another process at the address, which may be of another
// cluster, does not answer.
func (m *membership) contactLost() {
	m.mu.Lock()
	for name, s := range m.lost {
		if time.Since(s.at) > lostAge {
			delete(m.lost, name)
		}
	}
	lost := maps.Clone(m.lost)
	m.mu.Unlock()
	for name, address := range m.filter.unreached() {
		lost[name] = lostServer{address: address}
	}
	var asked sync.WaitGroup
	for name, s := range lost {
		asked.Go(func() {
			address, err := net.ResolveUDPAddr("udp", s.address)
			if err != nil {
				return
			}
			if _, err := m.list.Ping(name, address); err != nil {
				return
			}
			if cause := m.contact([]string{s.address}); cause != "" {
				m.config.Logger.Debug("rejoin " + cause)
			}
		})
	}
	asked.Wait()
}

// backoff doubles from first to most; each pause is drawn between half of it
// and the whole.
type backoff struct {
	first, most time.Duration
	tries       int
}

func (b *backoff) next() time.Duration {
	d := min(b.most, b.first<<min(b.tries, 30))
	b.tries++
	return d/2 + rand.N(d/2+1)
}

// sleep returns false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
