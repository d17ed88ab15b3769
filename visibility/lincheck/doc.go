// Package lincheck checks that a queue of package visibility is linearizable:
// histories of what concurrent clients did and saw are given to porcupine, which
// looks for an order of them that a plain queue would have produced. Some of the
// histories are cut by crashes.
//
// It is a module of its own, so that those who use pebblemq do not depend on
// porcupine:
//
//	cd visibility/lincheck && go test
package lincheck
