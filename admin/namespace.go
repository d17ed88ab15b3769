package admin

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/idempotency"
)

// keySection has the pages of the idempotency keys.
type keySection struct{ ground }

// namespaceRow is a namespace of idempotency keys in the list.
type namespaceRow struct {
	Name          string    `json:"name"`
	Created       time.Time `json:"created"`
	Completed     uint64    `json:"completed" about:"Keys with an outcome, some that have expired among them."`
	InProgress    int       `json:"inProgress" about:"Handlers that run."`
	ExpirySeconds float64   `json:"expirySeconds" about:"How long a completed key is remembered."`
}

type namespacesPage struct {
	Namespaces table[namespaceRow] `json:"namespaces"`
}

var namespaceColumns = columns[namespaceRow]{
	by("name", func(n namespaceRow) string { return n.Name }),
	by("completed", func(n namespaceRow) uint64 { return n.Completed }),
	by("inProgress", func(n namespaceRow) int { return n.InProgress }),
	by("expiry", func(n namespaceRow) float64 { return n.ExpirySeconds }),
}

func (s keySection) namespaces(ctx context.Context, in listIn) (namespacesPage, error) {
	i, err := s.census.take(ctx)
	if err != nil {
		return namespacesPage{}, err
	}
	rows := make([]namespaceRow, 0, len(i.namespaces))
	for _, n := range i.namespaces {
		rows = append(rows, namespaceRow{n.Name, n.Created, n.Completed, n.InProgress, seconds(n.Config.Expiry)})
	}
	t, err := namespaceColumns.page(rows, in, func(n namespaceRow) string { return n.Name })
	return namespacesPage{t}, err
}

func namespacePath(name string) string { return "/idempotency/" + url.PathEscape(name) }

type namespaceIn struct {
	Namespace string `in:"namespace" about:"Name of the namespace."`
	Prefix    string `in:"prefix" about:"Keep the keys that begin with this text, or with these bytes in hexadecimal after 0x."`
	Size      int    `in:"size" about:"Keys of a page, 50 by default and 1000 at most."`
}

type namespacePage struct {
	Name    string             `json:"name"`
	Config  idempotency.Config `json:"config" about:"Durations are in nanoseconds."`
	Created time.Time          `json:"created"`
	Keys    []entryView        `json:"keys"`
	More    bool               `json:"more" about:"Whether keys follow; a longer prefix shows them."`
	Prefix  string             `json:"prefix"`
}

type entryView struct {
	Key         payload   `json:"key"`
	Name        string    `json:"name" about:"The key as the parameter key takes it."`
	State       string    `json:"state"`
	Token       uint64    `json:"token" about:"Of the run; 0 if it was a transaction."`
	Completed   time.Time `json:"completed,omitzero" about:"As computed from the expiry of the namespace."`
	Expires     time.Time `json:"expires,omitzero"`
	Fingerprint payload   `json:"fingerprint"`
	Result      payload   `json:"result" about:"The text of the error, if it failed."`
}

// parseKey reads a key as the page writes it.
func parseKey(text string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(text, "0x")
	if !isHex {
		return []byte(text), nil
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, invalid("key is %.40q: %v", text, err)
	}
	return key, nil
}

// keyName writes a key so that parseKey reads it.
func keyName(key []byte) string {
	if readable(key) && !strings.HasPrefix(string(key), "0x") {
		return string(key)
	}
	return "0x" + hex.EncodeToString(key)
}

func (s keySection) namespace(ctx context.Context, in namespaceIn) (namespacePage, error) {
	n, err := idempotency.LookupNamespace(ctx, s.db, in.Namespace)
	if err != nil {
		return namespacePage{}, err
	}
	in.Size = cmp.Or(in.Size, defaultSize)
	if in.Size < 1 || in.Size > maxSize {
		return namespacePage{}, invalid("size %d is not between 1 and %d", in.Size, maxSize)
	}
	prefix, err := parseKey(in.Prefix)
	if err != nil {
		return namespacePage{}, err
	}
	info, err := n.Info(ctx)
	if err != nil {
		return namespacePage{}, err
	}
	page := namespacePage{Name: info.Name, Config: info.Config, Created: info.Created, Keys: []entryView{}, Prefix: in.Prefix}
	for e, err := range n.Entries(ctx, prefix) {
		if err != nil {
			return namespacePage{}, err
		}
		if page.More = len(page.Keys) == in.Size; page.More {
			break
		}
		page.Keys = append(page.Keys, s.entryView(info, e, previewBytes))
	}
	return page, nil
}

func namespaceObject(name string) string { return fmt.Sprintf("namespace %q", name) }

func (s keySection) entryView(of idempotency.NamespaceInfo, e idempotency.Entry, limit int) entryView {
	object := namespaceObject(of.Name)
	v := entryView{
		Key: newPayload(s.shown(object, "key", e.Key), limit), Name: keyName(e.Key), State: e.State.String(), Token: e.Token, Expires: e.Expires,
		Fingerprint: newPayload(s.shown(object, "fingerprint", e.Fingerprint), limit), Result: newPayload(s.shown(object, "result", e.Result), limit),
	}
	if !e.Expires.IsZero() {
		v.Completed = e.Expires.Add(-of.Config.Expiry)
	}
	return v
}

type keyIn struct {
	Namespace string `in:"namespace" about:"Name of the namespace."`
	Key       string `in:"key" about:"The key, or its bytes in hexadecimal after 0x."`
}

type keyPage struct {
	Namespace string `json:"namespace"`
	entryView
}

func (s keySection) key(ctx context.Context, in keyIn) (keyPage, error) {
	n, e, err := s.findKey(ctx, in)
	if err != nil {
		return keyPage{}, err
	}
	info, err := n.Info(ctx)
	return keyPage{in.Namespace, s.entryView(info, e, fullBytes)}, err
}

func (s keySection) findKey(ctx context.Context, in keyIn) (*idempotency.Namespace, idempotency.Entry, error) {
	n, err := idempotency.LookupNamespace(ctx, s.db, in.Namespace)
	if err != nil {
		return nil, idempotency.Entry{}, err
	}
	key, err := parseKey(in.Key)
	if err != nil {
		return nil, idempotency.Entry{}, err
	}
	for e, err := range n.Entries(ctx, key) { // the key itself is the first one
		if err != nil {
			return nil, idempotency.Entry{}, err
		}
		if string(e.Key) == string(key) {
			return n, e, nil
		}
		break
	}
	return nil, idempotency.Entry{}, refusal{http.StatusNotFound, fmt.Sprintf("namespace %q has no key %.80q", in.Namespace, in.Key)}
}

func (s keySection) forget(ctx context.Context, in keyIn) (changed, error) {
	n, e, err := s.findKey(ctx, in)
	if err != nil {
		return changed{}, err
	}
	return changed{
		Done: "The key was forgotten: the next call runs.", Object: namespaceObject(in.Namespace),
		Before: map[string]any{"key": keyName(e.Key), "state": e.State.String(), "token": e.Token},
	}, n.Forget(ctx, e.Key)
}
