package main

import (
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// maxResultBytes is the highest MaxResultBytes of a namespace.
const maxResultBytes = 32 << 20

// keyLoader makes namespaces, and the application's own keys.
type keyLoader struct {
	*loading
	namespaces map[string]*idempotency.Namespace
}

func (l *keyLoader) namespace(x *namespaceLine) error {
	_, err := idempotency.LookupNamespace(l.ctx, l.db, x.Name)
	if err := unless(err, "namespace", x.Name); err != nil {
		return err
	}
	c := x.Config
	c.MaxResultBytes = maxResultBytes
	ns, err := idempotency.OpenNamespace(l.ctx, l.db, x.Name, &c)
	if err != nil {
		return err
	}
	l.namespaces[x.Name] = ns
	l.later(func() error { return ns.Alter(l.ctx, &x.Config) })
	return nil
}

func (l *keyLoader) key(x *keyLine) error {
	ns := l.namespaces[x.Namespace]
	if ns == nil {
		return missing("namespace", x.Namespace)
	}
	outcome := func(*pebblemq.Tx) ([]byte, error) { return x.Result, nil }
	if x.Failed {
		outcome = func(*pebblemq.Tx) ([]byte, error) { return nil, idempotency.Final(errors.New(string(x.Result))) }
	}
	_, err := ns.Once(l.ctx, x.Key, outcome, &idempotency.OnceOptions{Fingerprint: x.Fingerprint})
	var final *idempotency.FinalError
	if x.Failed && errors.As(err, &final) {
		return nil
	}
	return err
}

func (l *keyLoader) entry(x *entryLine) error {
	return l.db.Update(l.ctx, func(tx *pebblemq.Tx) error { return tx.Set(x.Key, x.Value) })
}
