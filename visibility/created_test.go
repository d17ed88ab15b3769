package visibility_test

import (
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestACloseWhileAQueueIsCreatedHidesNothing(t *testing.T) {
	storetest.CloseWhileCreated(t, func(db *pebblemq.DB) error {
		_, err := visibility.OpenQueue(ctx, db, "q", nil)
		return err
	}, func(db *pebblemq.DB) error {
		_, err := visibility.LookupQueue(ctx, db, "q")
		return err
	})
}
