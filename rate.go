package pebblemq

// Rate is how many messages a second a Run may begin to handle. The zero value is no limit.
type Rate struct {
	// PerSecond may be a fraction, down to one message a day.
	PerSecond float64
	// Burst is how many messages may begin at once after a quiet time. Default: 1.
	Burst int
	// PerKey limits the messages of each Key instead of all. Those without a key are not
	// limited then.
	PerKey bool
}
