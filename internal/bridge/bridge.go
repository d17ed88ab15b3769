// Package bridge gives the layers the kernel behind the root package's opaque
// types, so that no exported signature names an internal type. The root
// package sets the functions when it is initialised; it cannot be imported
// here, as it imports this package.
package bridge

import "github.com/pebblemq/pebblemq/internal/store"

var (
	// Store returns the kernel behind a *pebblemq.DB.
	Store func(db any) *store.Store
	// Tx returns the kernel's transaction behind a *pebblemq.Tx.
	Tx func(tx any) *store.Tx
	// DB wraps a kernel opened with options that users cannot reach, as
	// tests need to; the result is a *pebblemq.DB.
	DB func(s *store.Store) any
)
