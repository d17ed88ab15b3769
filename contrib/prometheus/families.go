package prometheus

import (
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	client "github.com/prometheus/client_golang/prometheus"
)

const (
	gauge   = client.GaugeValue
	counter = client.CounterValue
)

func (s schema) families() []*family {
	return []*family{s.topics(), s.groups(), s.brokers(), s.workQueues(), s.visibilityQueues(), s.namespaces(), s.deadLetters()}
}

func (s schema) topics() *family {
	const topic = "topic"
	return &family{
		kind: "topic", labels: []string{topic},
		depth: func(info any) float64 { return float64(info.(log.TopicInfo).Kept) },
		metrics: []metric{
			one(s.desc("topic_records", "Offsets that can be read, in all partitions.", topic), gauge,
				func(i log.TopicInfo) float64 { return float64(i.Kept) }),
			one(s.desc("topic_appended_records_total", "Offsets given out since the topic was created.", topic), counter,
				func(i log.TopicInfo) float64 { return float64(i.Appended) }),
			one(s.desc("topic_partitions", "Partitions of the topic.", topic), gauge,
				func(i log.TopicInfo) float64 { return float64(i.Config.Partitions) }),
		},
	}
}

func (s schema) groups() *family {
	labels := []string{"topic", "group"}
	return &family{
		kind: "group", labels: labels,
		depth: func(info any) float64 { return float64(info.(log.GroupInfo).Lag) },
		age:   s.desc("group_oldest_age_seconds", "Age of the oldest record that the group has not finished.", labels...),
		metrics: []metric{
			one(s.desc("group_lag_records", "Records that the group has not finished, in all partitions.", labels...), gauge,
				func(i log.GroupInfo) float64 { return float64(i.Lag) }),
			one(s.desc("group_members", "Members of the group.", labels...), gauge,
				func(i log.GroupInfo) float64 { return float64(len(i.Members)) }),
			one(s.desc("group_blocked_partitions", "Partitions in which the group cannot read on.", labels...), gauge,
				func(i log.GroupInfo) float64 { return float64(i.Blocked) }),
		},
	}
}

func (s schema) brokers() *family {
	const broker = "broker"
	return &family{
		kind: "broker", labels: []string{broker},
		depth: func(info any) float64 { return float64(info.(workqueue.BrokerInfo).Queues) },
		metrics: []metric{
			one(s.desc("broker_queues", "Work queues of the broker.", broker), gauge,
				func(i workqueue.BrokerInfo) float64 { return float64(i.Queues) }),
			one(s.desc("broker_unrouted_messages_total", "Messages that no binding matched.", broker), counter,
				func(i workqueue.BrokerInfo) float64 { return float64(i.Unrouted) }),
		},
	}
}

func (s schema) workQueues() *family {
	labels := []string{"broker", "queue"}
	count := func(name, help string, of func(workqueue.QueueTotals) uint64) metric {
		return one(s.desc("workqueue_"+name, help, labels...), counter,
			func(i workqueue.QueueInfo) float64 { return float64(of(i.Totals)) })
	}
	reasons := []string{workqueue.ReasonRejected, workqueue.ReasonExpired, workqueue.ReasonMaxLen, workqueue.ReasonDeliveryLimit}
	return &family{
		kind: "work queue", labels: labels,
		depth: func(info any) float64 {
			st := info.(workqueue.QueueInfo).Stats
			return float64(st.Ready + st.Unacked + st.Delayed)
		},
		age: s.desc("workqueue_oldest_age_seconds", "Age of the message that is delivered next.", labels...),
		metrics: []metric{
			several(s.desc("workqueue_messages", "Messages in the queue, by state.", append(labels, "state")...), gauge,
				[]string{"ready", "unacked", "delayed", "unreadable"}, func(i workqueue.QueueInfo) []float64 {
					return []float64{float64(i.Stats.Ready), float64(i.Stats.Unacked), float64(i.Stats.Delayed), float64(i.Stats.Unreadable)}
				}),
			one(s.desc("workqueue_bytes", "Size of the messages in the queue.", labels...), gauge,
				func(i workqueue.QueueInfo) float64 { return float64(i.Stats.Bytes) }),
			one(s.desc("workqueue_stuck_messages", "Dead letters that have no place to go.", labels...), gauge,
				func(i workqueue.QueueInfo) float64 { return float64(i.Stats.Stuck.Total()) }),
			one(s.desc("workqueue_consumers", "Consumers of the queue.", labels...), gauge,
				func(i workqueue.QueueInfo) float64 { return float64(i.Stats.Consumers) }),
			one(s.desc("workqueue_paused", "1 if the queue is paused.", labels...), gauge,
				func(i workqueue.QueueInfo) float64 { return number(i.Stats.Paused) }),
			count("published_messages_total", "Messages that came into the queue.", func(t workqueue.QueueTotals) uint64 { return t.Published }),
			count("delivered_messages_total", "Deliveries.", func(t workqueue.QueueTotals) uint64 { return t.Delivered }),
			count("redelivered_messages_total", "Deliveries of messages that may have been delivered before.", func(t workqueue.QueueTotals) uint64 { return t.Redelivered }),
			count("acked_messages_total", "Messages that were acknowledged.", func(t workqueue.QueueTotals) uint64 { return t.Acked }),
			several(s.desc("workqueue_dead_messages_total", "Messages that became dead letters, by reason.", append(labels, "reason")...), counter,
				reasons, func(i workqueue.QueueInfo) []float64 {
					d := i.Totals.Dead
					return []float64{float64(d.Rejected), float64(d.Expired), float64(d.MaxLen), float64(d.DeliveryLimit)}
				}),
		},
	}
}

func (s schema) visibilityQueues() *family {
	const queue = "queue"
	return &family{
		kind: "visibility queue", labels: []string{queue},
		depth: func(info any) float64 {
			st := info.(visibility.QueueInfo).Stats
			return float64(st.Visible + st.InFlight + st.Delayed)
		},
		age: s.desc("visibility_oldest_age_seconds", "Age of the oldest message that is visible or in flight.", queue),
		metrics: []metric{
			several(s.desc("visibility_messages", "Messages in the queue, by state.", queue, "state"), gauge,
				[]string{"visible", "in_flight", "delayed", "unreadable"}, func(i visibility.QueueInfo) []float64 {
					return []float64{float64(i.Stats.Visible), float64(i.Stats.InFlight), float64(i.Stats.Delayed), float64(i.Stats.Unreadable)}
				}),
			one(s.desc("visibility_bytes", "Size of the messages in the queue.", queue), gauge,
				func(i visibility.QueueInfo) float64 { return float64(i.Stats.Bytes) }),
			one(s.desc("visibility_expired_messages_total", "Messages dropped at the end of their retention.", queue), counter,
				func(i visibility.QueueInfo) float64 { return float64(i.Stats.Expired) }),
		},
	}
}

func (s schema) namespaces() *family {
	const namespace = "namespace"
	return &family{
		kind: "namespace", labels: []string{namespace},
		depth: func(info any) float64 { return float64(info.(idempotency.NamespaceInfo).Completed) },
		metrics: []metric{
			one(s.desc("idempotency_completed_keys", "Keys with an outcome.", namespace), gauge,
				func(i idempotency.NamespaceInfo) float64 { return float64(i.Completed) }),
			one(s.desc("idempotency_running_handlers", "Handlers that run.", namespace), gauge,
				func(i idempotency.NamespaceInfo) float64 { return float64(i.InProgress) }),
		},
	}
}
