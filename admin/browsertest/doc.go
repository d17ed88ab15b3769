// Package browsertest opens the pages of package admin in chromium. It is a module of its own, so that
// the library does not depend on what drives the browser.
//
//	apt-get install chromium
//	go test . -screenshots /tmp/shots
package browsertest
