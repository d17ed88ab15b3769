package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

func (p *keysPart) once(c *client, a args) {
	s, k := p.at(a)
	if s == nil {
		return
	}
	p.runs++
	name := fmt.Sprintf("%s/o%d", k.name, p.runs)
	k.now(wall())
	end := k.use()
	forgets := k.forgets
	k.mayCause++
	k.died = time.Time{}
	ran := false
	var r idempotency.Result
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) (err error) {
		r, err = namespace.Once(ctx, []byte(k.name), func(tx *pebblemq.Tx) ([]byte, error) {
			ran = true
			n, err := readNumber(tx, s.effects(k))
			if err != nil {
				return nil, err
			}
			if err := tx.Set([]byte(s.effects(k)), fmt.Append(nil, n+1)); err != nil {
				return nil, err
			}
			switch a["end"] {
			case "error":
				return nil, errHandler
			case "final":
				return nil, idempotency.Final(errors.New(name))
			}
			return []byte(name), nil
		}, nil)
		return err
	})
	quiet := end()
	c.tellCall("once %s: error %v", k.name, o.err)
	if a["end"] == "final" {
		name = finalPrefix + name
	}
	result := outcomeOf(r, o.err)
	answered := o.err == nil || strings.HasPrefix(result, finalPrefix)
	fresh := answered && result == name
	if o.refused() && !fresh || !fresh && answered || fresh && a["end"] == "final" {
		k.mayCause--
	} else if o.unclear() {
		k.attempts = append(k.attempts, attempt{forgets, s.expires(o).first})
	}
	switch {
	case o.unclear():
		if ran {
			k.mayComplete(s, o, name)
		}
		c.expects(o, "once "+k.name)
	case fresh:
		if k.fate == here && quiet {
			c.fail("once %s of %s ran, and the key has the outcome %q", k.name, s.name, k.results)
		}
		k.absent(o.to)
		if a["end"] != "final" {
			p.caused(c, s, k, o)
		}
		k.completed(c, s, o, result, c.syncs(true))
		k.mayBeGone = k.mayBeGone || forgets != k.forgets
		if c.syncs(true) {
			p.w.synced(o.began)
		}
	case answered:
		k.judge(c, s, result, quiet)
	case errors.Is(o.err, errHandler) && ran && a["end"] == "error":
	case errors.Is(o.err, idempotency.ErrInProgress) && (!quiet || k.cut && !s.leaseOver(o.from)):
	default:
		c.expects(o, "once "+k.name)
	}
}

// effects is the key that counts how often Once has run for a key.
func (s *space) effects(k *keyModel) string { return "effects/" + s.name + "/" + k.name }

// absent notes that the key had no outcome just before t: an attempt which would have left one
// has had no effect either.
func (k *keyModel) absent(t time.Time) {
	for _, a := range k.attempts {
		if a.forgets == k.forgets && k.forgetting == 0 && t.Before(a.until) {
			k.mayCause--
		}
	}
	k.attempts = nil
}

// caused notes that an effect of Once is certain, as long as no crash takes it back.
func (p *keysPart) caused(c *client, s *space, k *keyModel, o outcome) {
	k.mayCause--
	k.effects++
	if !c.syncs(true) {
		forgets := k.forgets
		c.lose(func() {
			k.effects, k.mayCause = k.effects-1, k.mayCause+1
			k.attempts = append(k.attempts, attempt{forgets, s.expires(o).first})
		})
	}
}
