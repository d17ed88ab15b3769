package workqueue_test

import (
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestACloseWhileABrokerIsCreatedHidesNothing(t *testing.T) {
	storetest.CloseWhileCreated(t, func(db *pebblemq.DB) error {
		_, err := workqueue.OpenBroker(bg, db, "b")
		return err
	}, func(db *pebblemq.DB) error {
		_, err := workqueue.LookupBroker(bg, db, "b")
		return err
	})
}
