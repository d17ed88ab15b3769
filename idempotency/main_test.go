package idempotency_test

import (
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wrap(s *store.Store) *pebblemq.DB { return bridge.DB(s).(*pebblemq.DB) }
