// Package pebblemq is an embeddable message store: a durable log, a routed work
// queue and a visibility-timeout queue on one Pebble store, in one process,
// with one commit over all of them.
package pebblemq
