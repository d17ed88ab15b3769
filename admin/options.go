package admin

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
)

// Options configure a Handler. Nil and the zero value are the defaults.
type Options struct {
	// BasePath is where the handler is mounted, such as "/admin". It begins with a slash and
	// does not end with one. Default: the root of the server.
	BasePath string

	// ReadOnly refuses every change, and the pages show no forms. Default: false.
	ReadOnly bool

	// Authorize returns nil if the request may do the action, and otherwise why not. The error
	// is shown to the client with the status 403. It is called for every request but those for
	// the stylesheet and the script, concurrently. Default: only requests from this machine
	// that came through no proxy.
	Authorize func(*http.Request, Action) error

	// Who returns the name of the client for the audit. Default: the user of HTTP basic authentication, or
	// else the remote address.
	Who func(*http.Request) string

	// Logger gets a line at Info for each change, with the attributes who, action, object,
	// before and after, and at Warn with error if it was refused. Default: slog.Default.
	Logger *slog.Logger

	// TempDir is where a checkpoint is put together before it is sent. On the file system of the
	// store the copy consists of hard links; elsewhere it takes the room of the store. Default:
	// os.TempDir.
	TempDir string

	// Redact returns what may be shown of a payload. It gets every key, value, body, header,
	// result and error text before it is shown, searched or downloaded, and may be called
	// concurrently. It must not change the bytes. Default: all is shown.
	Redact func(Payload) []byte
}

// Action is what a request wants to do.
type Action struct {
	// Name is that of the operation in the OpenAPI file, such as "records" or "queue.purge".
	Name string

	// Change reports whether the action changes the store. Reading a checkpoint counts as a
	// change, because it writes a copy of the store.
	Change bool
}

// Payload is something that the application has put into the store.
type Payload struct {
	Object string // such as `topic "orders"` or `queue "emails" of broker "main"`
	Part   string // "key", "value", "body", "result", "fingerprint", "error", or "header " and its name
	Bytes  []byte
}

// complete returns the options with their defaults, and why they make no sense.
func (o *Options) complete() (full Options, problem string) {
	if o != nil {
		full = *o
	}
	if full.Authorize == nil {
		full.Authorize = fromThisMachine
	}
	if full.Who == nil {
		full.Who = userOrAddress
	}
	if full.Logger == nil {
		full.Logger = slog.Default()
	}
	if full.Redact == nil {
		full.Redact = func(p Payload) []byte { return p.Bytes }
	}
	if base := full.BasePath; base != "" && (!strings.HasPrefix(base, "/") || strings.HasSuffix(base, "/")) {
		return full, "admin: BasePath " + base + " does not begin with a slash or ends with one"
	}
	return full, ""
}

// fromThisMachine admits local requests. The name of the host must be a local one too: a page of
// another site whose name was made to lead here has its own.
func fromThisMachine(r *http.Request, _ Action) error {
	forwarded := r.Header.Get("Forwarded") + r.Header.Get("X-Forwarded-For") + r.Header.Get("X-Real-Ip")
	if forwarded == "" && local(r.RemoteAddr) && local(r.Host) {
		return nil
	}
	return refusal{http.StatusForbidden, "only requests from this machine are served; set Options.Authorize to admit others"}
}

func local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func userOrAddress(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok && user != "" {
		return user
	}
	return r.RemoteAddr
}
