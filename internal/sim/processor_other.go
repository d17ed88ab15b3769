//go:build !unix

package main

import "time"

// processStart is when the process began.
var processStart = time.Now()

// processorTime is how long the process has been at work, at most: the system does not tell.
func processorTime() time.Duration { return time.Since(processStart) }
