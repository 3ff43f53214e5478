package ground

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// filter drops packets between the ports of the bridge, of any protocol. What
// this process itself sends to nodes, or they to it, does not pass it: clients
// reach every node.
type filter struct {
	table *nftables.Table
	chain *nftables.Chain
}

func newFilter() (*filter, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	f := &filter{}
	f.table = c.AddTable(&nftables.Table{Family: nftables.TableFamilyBridge, Name: "chaos"})
	f.chain = c.AddChain(&nftables.Chain{
		Name: "between", Table: f.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	// One of a network before this one may be there still.
	c.FlushChain(f.chain)
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return f, nil
}

// netlinkBytes is room for all rules at once, and for the answers to them: what
// does not fit is refused as a whole, and cuts would never end.
const netlinkBytes = 8 << 20

func roomy(c *netlink.Conn) error {
	return errors.Join(c.SetWriteBuffer(netlinkBytes), c.SetReadBuffer(netlinkBytes))
}

// apply replaces all rules at once.
func (f *filter) apply(drops []drop) error {
	c, err := nftables.New(nftables.WithSockOptions(roomy))
	if err != nil {
		return err
	}
	c.FlushChain(f.chain)
	for _, d := range drops {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: f.chain, Exprs: d.rule()})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// register of the kernel that the expressions of a rule share.
const register = 1

func (d drop) rule() []expr.Any {
	var rule []expr.Any
	match := func(key expr.MetaKey, id string) {
		if id == "" {
			return
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, device(id))
		rule = append(rule, &expr.Meta{Key: key, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: name})
	}
	match(expr.MetaKeyIIFNAME, d.from)
	match(expr.MetaKeyOIFNAME, d.to)
	if d.percent > 0 {
		rule = append(rule, &expr.Numgen{Register: register, Modulus: 100, Type: unix.NFT_NG_RANDOM},
			// Comparisons are of bytes, from the first one on.
			&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binaryutil.BigEndian.PutUint32(uint32(d.percent))})
	}
	return append(rule, &expr.Verdict{Kind: expr.VerdictDrop})
}
