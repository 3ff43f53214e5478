package ground

import (
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	bridgeName = "chaos"
	// ownHost is this process's address on the bridge; nodes count from
	// firstHost.
	ownHost, firstHost, lastHost = 1, 10, 250
)

// namespaces is a network of one namespace per node, bridged in the one of this
// process, which must be its own (Enter).
type namespaces struct {
	thread *thread
	hub    netns.NsHandle
	bridge netlink.Link
	filter *filter
	nodes  map[string]netns.NsHandle
	next   byte
}

func address(host byte) string { return net.IPv4(10, 77, 0, host).String() }

func newNamespaces(t *thread) (network, error) {
	n := &namespaces{thread: t, hub: netns.None(), nodes: map[string]netns.NsHandle{}, next: firstHost}
	if err := n.build(); err != nil {
		n.close()
		return nil, fmt.Errorf("network namespaces: %w", err)
	}
	return n, nil
}

func (n *namespaces) build() (err error) {
	if n.hub, err = netns.Get(); err != nil {
		return err
	}
	hub, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer hub.Close()
	if err := up(hub, "lo"); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = bridgeName
	if err := hub.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	if n.bridge, err = hub.LinkByName(bridgeName); err != nil {
		return err
	}
	if err := assign(hub, n.bridge, ownHost); err != nil {
		return err
	}
	if err := hub.LinkSetUp(n.bridge); err != nil {
		return err
	}
	n.filter, err = newFilter()
	return err
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

func assign(h *netlink.Handle, link netlink.Link, host byte) error {
	a, err := netlink.ParseAddr(address(host) + "/24")
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, a); err != nil {
		return fmt.Errorf("add address %s: %w", a, err)
	}
	return nil
}

// device is the end of a node's cable that is at the bridge.
func device(id string) string { return "to-" + id }

func (n *namespaces) add(id string) (site, error) {
	if n.next > lastHost {
		return site{}, fmt.Errorf("node %s: no more than %d nodes", id, lastHost-firstHost+1)
	}
	host := n.next
	n.next++
	ns, err := n.namespace()
	if err != nil {
		return site{}, fmt.Errorf("node %s: namespace: %w", id, err)
	}
	n.nodes[id] = ns
	if err := n.connect(id, ns, host); err != nil {
		return site{}, fmt.Errorf("node %s: %w", id, err)
	}
	return siteAt(address(host), portAPI, portActors, portGossip), nil
}

// namespace makes a namespace that lives as long as its handle.
func (n *namespaces) namespace() (ns netns.NsHandle, err error) {
	err = n.thread.do(func() error {
		if ns, err = netns.New(); err != nil {
			return err
		}
		return netns.Set(n.hub)
	})
	return ns, err
}

// connect lays a cable from the bridge to a node.
func (n *namespaces) connect(id string, ns netns.NsHandle, host byte) error {
	hub, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer hub.Close()
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MasterIndex = device(id), n.bridge.Attrs().Index
	cable := &netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
	if err := hub.LinkAdd(cable); err != nil {
		return fmt.Errorf("add cable: %w", err)
	}
	if err := up(hub, device(id)); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	end, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := assign(inside, end, host); err != nil {
		return err
	}
	if err := inside.LinkSetUp(end); err != nil {
		return err
	}
	return up(inside, "lo")
}

func (n *namespaces) start(id string, cmd *exec.Cmd) error {
	ns, ok := n.nodes[id]
	if !ok {
		return fmt.Errorf("no node %s", id)
	}
	return n.thread.do(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter the namespace of %s: %w", id, err)
		}
		err := n.thread.start(cmd)
		if back := netns.Set(n.hub); back != nil {
			return fmt.Errorf("leave the namespace of %s: %w", id, back)
		}
		return err
	})
}

// wrap enters the namespace by the descriptor that this process holds.
func (n *namespaces) wrap(id string) func(string, ...string) *exec.Cmd {
	enter := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(n.nodes[id]))
	return func(name string, args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{enter, "--", name}, args...)...)
	}
}

func (n *namespaces) drop(drops []drop) error { return n.filter.apply(drops) }

func (n *namespaces) cuts() bool { return true }

// close removes the cables, and lets the namespaces go: the kernel removes those
// once no process is in them.
func (n *namespaces) close() {
	for id, ns := range n.nodes {
		if cable, err := netlink.LinkByName(device(id)); err == nil {
			_ = netlink.LinkDel(cable)
		}
		_ = ns.Close()
	}
	clear(n.nodes)
	if n.bridge != nil {
		_ = netlink.LinkDel(n.bridge)
	}
	if n.hub.IsOpen() {
		_ = n.hub.Close()
	}
}
