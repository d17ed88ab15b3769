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
	// Options returns what a *pebblemq.Options means to the kernel; nil is the defaults.
	Options func(o any) store.Options
	// FutureRoom returns where the value of a *pebblemq.Future[T] goes, a *T.
	FutureRoom func(future any) any
	// FutureSettled makes what FutureRoom was given, and err, the outcome.
	FutureSettled func(future any, err error)
)

// Settle gives a new *pebblemq.Future[T] its outcome, once.
func Settle[T any](future any, value T, err error) {
	*FutureRoom(future).(*T) = value
	FutureSettled(future, err)
}
