// Package admin serves a page and a JSON API to look at an open store and to mend it. It is mounted in
// the server of the program that has the store open:
//
//	http.Handle("/admin/", admin.Handler(db, &admin.Options{BasePath: "/admin"}))
//
// # Guarantees
//
//   - A GET changes nothing. It opens objects that the process has not opened yet, see below.
//   - Each change is checked by Options.Authorize, refused if Options.ReadOnly is set, refused if it comes
//     from another site, and written to Options.Logger as one line with who, what, before and after.
//   - Without Options.Authorize only requests from this machine are served.
//   - Pages need no JavaScript, load nothing from other hosts, and run no inline script or style.
//   - A page reads as much as it shows. Searches in payloads read a limited number of messages and say
//     where they stopped.
//   - Memory is bounded: figures of the last hour, a limited number of live streams, limited bodies.
//
// # How a request is served
//
// routes.go lists every route once: its path, whether it looks or changes, its function and its page.
// The function takes a struct of parameters and returns a struct of results:
//
//	GET  BASE/topics/orders          the struct as a page, by the template of the route
//	GET  BASE/api/v1/topics/orders   the same struct as JSON
//	POST BASE/topics/orders/...      a form with a token; then the page that it came from
//	POST BASE/api/v1/topics/...      JSON; the answer tells what was changed
//
//	route.go     what a route is; how requests are admitted     guard.go     authorization, tokens, headers
//	input.go     parameters, from path, query, form or JSON     table.go     sorting, filtering and paging
//	census.go    the inventory of the store, kept for a second  history.go   figures of the last hour
//	overview.go, topic.go, records.go, group.go, broker.go, queue.go, messages.go, redrive.go, namespace.go
//	             the data of the pages
//	page.go      templates                                      web          templates, stylesheet, script
//	drawing.go   curves and the topology as SVG                 live.go      server-sent events
//
// api/v1/openapi.json describes the API. BASE/health answers 200 or 503 for load balancers.
//
// # What it opens
//
// The pages open topics, groups, brokers and queues that the process has not opened, because their
// counters would not be known otherwise. Opening a broker starts its jobs. While a Handler exists, it
// takes a sample of the figures every ten seconds if there were changes.
package admin
