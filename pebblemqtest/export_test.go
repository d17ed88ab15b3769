package pebblemqtest

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Poison makes a store fail.
func Poison(db *pebblemq.DB) (err error) {
	defer func() {
		if recover() == nil {
			err = fmt.Errorf("the operation did not panic")
		}
	}()
	return bridge.Store(db).Do(context.Background(), store.OpFunc(func(*store.Turn) error { panic("on purpose") }), store.Sync)
}
