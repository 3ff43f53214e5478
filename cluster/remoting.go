package cluster

import (
	"fmt"
	"net"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"

	"github.com/limpetrun/limpet/messages"
)

type remoting struct{ remote *remote.Remote }

func startRemoting(system *actor.ActorSystem, cluster *protocluster.Cluster, c Config) (r *remoting, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = messages.Errorf(messages.CodeAddressInUse, "bind address %s: %w", c.BindAddress, fmt.Errorf("%v", p))
		}
	}()
	host, port, _ := net.SplitHostPort(c.BindAddress)
	number, _ := strconv.Atoi(port)
	r = &remoting{remote.NewRemote(system, remote.Configure(host, number))}
	cluster.Remote = r.remote
	r.remote.Start()
	return r, nil
}

func (r *remoting) membersChanged(_, _ *View) {}
func (r *remoting) stop()                     { r.remote.Shutdown(false) }
