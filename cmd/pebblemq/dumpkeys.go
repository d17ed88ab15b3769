package main

import "github.com/pebblemq/pebblemq/idempotency"

func (d *dumper) namespace(name string) error {
	ns, err := idempotency.LookupNamespace(d.ctx, d.db, name)
	if err != nil {
		return err
	}
	if err := d.put(line{Namespace: &namespaceLine{name, ns.Config()}}); err != nil {
		return err
	}
	for e, err := range ns.Entries(d.ctx, nil) {
		if err != nil {
			return err
		}
		if e.State != idempotency.Completed && e.State != idempotency.Failed {
			d.notes.add("keys without an outcome")
			continue
		}
		l := &keyLine{name, e.Key, e.State == idempotency.Failed, e.Result, e.Fingerprint, e.Expires}
		if err := d.put(line{Key: l}); err != nil {
			return err
		}
	}
	return nil
}
