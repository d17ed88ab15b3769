package admin

import "net/http"

// routes lists everything that a client may ask for.
func (s *site) routes() []route {
	list := []route{
		look("overview", "/overview", "overview", "The figures of the store and the last hour.", s.overview),
		stream("health", http.MethodGet, "/health", "application/json", "200 if the store does its work, 503 if not, with the reason.", s.serveHealth),
		stream("live", http.MethodGet, "/live", "text/event-stream", "An event each time that the store has changed.", s.serveLive),
		stream("checkpoint", http.MethodPost, api+"/checkpoint", "application/x-tar", "A copy of the store as of now.", s.serveCheckpoint),
		stream("openapi", http.MethodGet, api+"/openapi.json", "application/json", "The description of this API.", s.serveOpenAPI),

		look("topics", "/topics", "topics", "The topics of the log.", s.topics),
		look("topic", "/topics/{topic}", "topic", "A topic, its partitions and groups.", s.topic),
		look("records", "/topics/{topic}/records", "records", "Records of a partition.", s.records),
		look("record", "/topics/{topic}/records/{partition}/{offset}", "record", "A record.", s.record),
		stream("record.value", http.MethodGet, api+"/topics/{topic}/records/{partition}/{offset}/value", "application/octet-stream",
			"The value of a record, as a file.", s.recordValue),
		look("group", "/topics/{topic}/groups/{group}", "group", "A group, its members and its lag.", s.group),
		look("group.preview", "/topics/{topic}/groups/{group}/seek", "seek", "What moving a group would replay or pass over.", s.previewSeek),
		change("group.seek", "/topics/{topic}/groups/{group}/seek", "..", "Move a group.", s.seek),

		look("brokers", "/brokers", "brokers", "The brokers.", s.brokers),
		look("broker", "/brokers/{broker}", "broker", "A broker: exchanges, bindings and jobs.", s.broker),
		look("queues", "/queues", "queues", "The queues of both kinds.", s.queues),
		change("queue.pause", "/brokers/{broker}/queues/{queue}/pause", "..", "Stop a work queue from handing out messages.", s.pause),
		change("queue.resume", "/brokers/{broker}/queues/{queue}/resume", "..", "End a pause.", s.resume),

		look("namespaces", "/idempotency", "namespaces", "The namespaces of idempotency keys.", s.namespaces),
		look("namespace", "/idempotency/{namespace}", "namespace", "A namespace and its keys.", s.namespace),
		look("key", "/idempotency/{namespace}/keys/{key}", "key", "A key and its outcome.", s.key),
		change("key.forget", "/idempotency/{namespace}/keys/{key}/forget", "../../..", "Forget a key, so that its next call runs.", s.forget),
	}
	list = append(list, s.mailboxRoutes("queue", "/brokers/{broker}/queues/{queue}")...)
	return append(list, s.mailboxRoutes("visibility", "/visibility/{queue}")...)
}

// mailboxRoutes are those of a queue of either kind.
func (s *site) mailboxRoutes(name, path string) []route {
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

func (s *site) serveOpenAPI(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openapi) // the client may have gone
	return nil
}
