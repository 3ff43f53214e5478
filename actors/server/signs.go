package server

import (
	"context"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
)

// SignsOf lets the servers of a store tell each other by it that they live.
func SignsOf(store journal.Store) cluster.Signs { return storeSigns{store} }

type storeSigns struct{ store journal.Store }

func (s storeSigns) SignOfLife(ctx context.Context, server string, data []byte) ([]cluster.Sign, error) {
	signs, err := s.store.SignOfLife(ctx, server, data)
	out := make([]cluster.Sign, len(signs))
	for i, sign := range signs {
		out[i] = cluster.Sign(sign)
	}
	return out, err
}
