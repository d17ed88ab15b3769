// Command sim looks for faults that nobody thought of. It draws a world from a seed: queues,
// topics and namespaces of all kinds, clients that use them, and a disk that is slow, fills
// and loses power. It then plays what happens there in a bubble of testing/synctest, where days
// take seconds, and compares each answer with what the documentation promises.
//
//	go run ./internal/sim -for 1h                  // fresh seeds, for an hour of real time
//	go run ./internal/sim -seed 42                 // one seed
//	go run ./internal/sim testdata/scenarios/*.sim // scenarios that were saved
//
// What fails is played again, shrunk to the few steps that matter and printed as a scenario.
//
// # Words
//
//	world     a store on a disk, and all that the simulator knows of it
//	step      one thing that happens, a line of text
//	scenario  a list of steps
//	verb      a kind of step: its words, how it is drawn and what it does
//	part      the verbs and oracles of one package of the library
//	oracle    what is known of an object without asking the library for it
//	fate      whether a thing is there, is gone or may be either
//	life      the time from opening a store to its end
//	swarm     the choice of verbs and features that a seed makes
//	wall      the clock of the machine, which can be set back
//
// # How it works
//
//	       draw               start               Wait
//	seed ───────▶ step ────────────────▶ client ────────▶ all wait ──┐
//	                ▲                    calls the library           │ compare
//	                └────────────────────────────────────────────────┘
//
// One scheduler decides what happens next. It starts a step on a goroutine of its own, the
// client, and goes on when every goroutine of the bubble waits: the step has ended by then, or
// it waits for a message, for the disk or for time. Clients hold the world while they look at
// it and let it go during a call of the library, so a call sees others between its begin and
// its end.
//
// # What is certain
//
// An oracle must not ask the code under test, so it knows less than that does. A message that
// is being sent may be there or not. What was acknowledged and not synced may be gone after a
// crash. An oracle keeps such things as ranges (a fate, a first and a last moment, a least and
// a largest count), and complains about nothing within them. What it has seen narrows them.
//
// # What a seed does not determine
//
// The order in which goroutines of the library run between two waits, the choice of a select
// with several cases ready, the order of maps, and random numbers that the library draws: ids,
// jitter, secrets of receipts. A failure is therefore kept as its steps. Playing them again
// finds it in nearly all cases; the shrinker plays each candidate several times.
package main
