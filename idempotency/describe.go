package idempotency

import (
	"context"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

func init() { store.RegisterDescriber(describeAll) }

func describeAll(ctx context.Context, s *store.Store) (all []store.Described, err error) {
	list, err := Namespaces(ctx, bridge.DB(s).(*pebblemq.DB))
	for _, info := range list {
		all = append(all, store.Described{Kind: "namespace", Name: info.Name, Info: info})
	}
	return all, err
}
