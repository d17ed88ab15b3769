package main

import (
	"errors"

	"github.com/pebblemq/pebblemq/log"
)

func (d *dumper) topic(name string) error {
	t, err := log.LookupTopic(d.ctx, d.db, name)
	if err != nil {
		return err
	}
	if err := d.put(line{Topic: &topicLine{name, t.Config()}}); err != nil {
		return err
	}
	groups, err := d.groups(t)
	if err != nil {
		return err
	}
	for p := range t.Partitions() {
		for r, err := range partition(d.ctx, t, p, log.Start()) {
			if err != nil {
				return err
			}
			if err := d.put(line{Record: &recordLine{name, newRecordRow(r)}}); err != nil {
				return err
			}
			for _, g := range groups {
				if at := &g.Positions[p]; r.Offset < at.Next {
					at.Done++
				}
			}
		}
	}
	for _, g := range groups {
		if err := d.put(line{Group: g}); err != nil {
			return err
		}
	}
	return nil
}

// groups returns the groups of a topic, which have no record behind them yet.
func (d *dumper) groups(t *log.Topic) (list []*groupLine, err error) {
	infos, err := t.Groups(d.ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range infos {
		g, err := t.LookupGroup(d.ctx, i.Name)
		if errors.Is(err, log.ErrOffsetsExpired) {
			d.notes.add("groups whose offsets have expired")
			continue
		}
		if err != nil {
			return nil, err
		}
		committed, err := g.Committed(d.ctx)
		if err != nil {
			return nil, err
		}
		l := &groupLine{Topic: t.Name(), Name: i.Name, Config: i.Config}
		for _, at := range committed {
			l.Positions = append(l.Positions, positionLine{Partition: at.Partition, Next: at.Next, Metadata: at.Metadata})
		}
		list = append(list, l)
	}
	return list, nil
}
