package admin

import "net/http"

// routes lists everything that a client may ask for.
func routes(g ground, h *history) []route {
	store, logs, brokers, keys := storeSection{g, h, make(chan struct{}, maxStreams)}, logSection{g}, brokerSection{g}, keySection{g}
	queues := queueSection{g}
	list := []route{
		look("overview", "/overview", "overview", "The figures of the store and the last hour.", store.overview),
		stream("health", http.MethodGet, "/health", "application/json", "200 if the store does its work, 503 if not, with the reason.", store.serveHealth),
		stream("live", http.MethodGet, "/live", "text/event-stream", "An event each time that the store has changed.", store.serveLive),
		stream("checkpoint", http.MethodPost, api+"/checkpoint", "application/x-tar", "A copy of the store as of now.", store.serveCheckpoint),
		stream("openapi", http.MethodGet, api+"/openapi.json", "application/json", "The description of this API.", serveOpenAPI),

		look("topics", "/topics", "topics", "The topics of the log.", logs.topics),
		look("topic", "/topics/{topic}", "topic", "A topic, its partitions and groups.", logs.topic),
		look("records", "/topics/{topic}/records", "records", "Records of a partition.", logs.records),
		look("record", "/topics/{topic}/records/{partition}/{offset}", "record", "A record.", logs.record),
		stream("record.value", http.MethodGet, api+"/topics/{topic}/records/{partition}/{offset}/value", "application/octet-stream",
			"The value of a record, as a file.", logs.recordValue),
		look("group", "/topics/{topic}/groups/{group}", "group", "A group, its members and its lag.", logs.group),
		look("group.preview", "/topics/{topic}/groups/{group}/seek", "seek", "What moving a group would replay or pass over.", logs.previewSeek),
		change("group.seek", "/topics/{topic}/groups/{group}/seek", "..", "Move a group.", logs.seek),

		look("brokers", "/brokers", "brokers", "The brokers.", brokers.brokers),
		look("broker", "/brokers/{broker}", "broker", "A broker: exchanges, bindings and jobs.", brokers.broker),
		look("queues", "/queues", "queues", "The queues of both kinds.", queues.queues),
		change("queue.pause", "/brokers/{broker}/queues/{queue}/pause", "..", "Stop a work queue from handing out messages.", queues.pause),
		change("queue.resume", "/brokers/{broker}/queues/{queue}/resume", "..", "End a pause.", queues.resume),

		look("namespaces", "/idempotency", "namespaces", "The namespaces of idempotency keys.", keys.namespaces),
		look("namespace", "/idempotency/{namespace}", "namespace", "A namespace and its keys.", keys.namespace),
		look("key", "/idempotency/{namespace}/keys/{key}", "key", "A key and its outcome.", keys.key),
		change("key.forget", "/idempotency/{namespace}/keys/{key}/forget", "../../..", "Forget a key, so that its next call runs.", keys.forget),
	}
	list = append(list, queues.routes("queue", "/brokers/{broker}/queues/{queue}")...)
	return append(list, queues.routes("visibility", "/visibility/{queue}")...)
}

// routes are those of a queue of either kind.
func (s queueSection) routes(name, path string) []route {
	return []route{
		look(name, path, "queue", "A queue.", s.queue),
		look(name+".messages", path+"/messages", "messages", "Messages of a queue. None is taken.", s.messages),
		look(name+".message", path+"/messages/{position}", "message", "A message.", s.message),
		stream(name+".body", http.MethodGet, api+path+"/messages/{position}/body", "application/octet-stream",
			"The body of a message, as a file.", s.messageBody),
		look(name+".leases", path+"/leases", "leases", "Messages in flight by the end of their lease, and groups that wait for them.", s.leases),
		look(name+".deaths", path+"/deaths", "deaths", "Why the dead letters of a queue died.", s.deaths),
		change(name+".put", path+"/put", "..", "Put a message into a queue.", s.put),
		change(name+".purge", path+"/purge", "..", "Remove the messages that are ready.", s.purge),
		change(name+".cancel", path+"/messages/{position}/cancel", "../..", "Cancel a delayed message.", s.cancel),
		change(name+".redrive", path+"/redrive", "../deaths", "Move dead letters back to their queues, or to another queue.", s.redrive),
		change(name+".redrive.cancel", path+"/redrives/{redrive}/cancel", "../../../deaths", "End a redrive.", s.redriveCancel),
	}
}

func serveOpenAPI(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openapi) // the client may have gone
	return nil
}
