package pebblemq_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestErrorsOfThePackagesAreCasesOfThoseOfTheStore(t *testing.T) {
	kinds := map[error][]error{
		pebblemq.ErrNotFound: {
			log.ErrUnknownTopic, log.ErrUnknownPartition, log.ErrUnknownGroup,
			workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange, workqueue.ErrUnknownBinding,
			workqueue.ErrUnknownDestination, workqueue.ErrUnknownMessage, workqueue.ErrUnknownJob,
			visibility.ErrUnknownQueue, visibility.ErrUnknownMessage, idempotency.ErrUnknownNamespace,
		},
		pebblemq.ErrDeleted: {log.ErrTopicDeleted, log.ErrGroupDeleted, workqueue.ErrQueueDeleted, visibility.ErrQueueDeleted, idempotency.ErrNamespaceDeleted},
		pebblemq.ErrLost: {
			log.ErrFenced, &log.FencedError{}, workqueue.ErrDeliveryLost, visibility.ErrStaleReceipt, visibility.ErrNotInFlight,
			visibility.ErrExpired, visibility.ErrLeaseLost, idempotency.ErrLeaseLost,
		},
		pebblemq.ErrFull: {workqueue.ErrQueueFull, visibility.ErrInFlightLimit},
	}
	for kind := range kinds {
		for other, cases := range kinds {
			for _, err := range cases {
				require.Equal(t, kind == other, errors.Is(err, kind), "%v, %v", err, kind)
			}
		}
	}
}
