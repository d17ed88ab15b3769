package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultVerifyRate is how many bytes a second Verify reads unless told otherwise.
const DefaultVerifyRate = 64 << 20

// Unlimited is the rate that is none.
const Unlimited = -1

// VerifyOptions configure Verify.
type VerifyOptions struct {
	BytesPerSecond int64 // 0 is DefaultVerifyRate
	Progress       func(VerifyProgress)
}

// VerifyProgress is how far a Verify has come.
type VerifyProgress struct {
	Files      int   // verified
	TotalFiles int   // known to be there
	Bytes      int64 // read, in files and records
	TotalBytes int64 // of these files; the records of objects come on top
	Objects    int   // verified
}

// VerifyReport is what a Verify has found.
type VerifyReport struct {
	Files              int
	Tables             int // of the files
	Objects            int
	Bytes              int64
	Damages            []Damage
	MoreDamages        int // beyond those listed
	Contradictions     []Contradiction
	MoreContradictions int
	Unchecked          []string // objects that could not be checked, and why
	Lost               []LostObject
	Took               time.Duration
}

// Err returns an error that wraps ErrCorrupt if anything is damaged or contradictory,
// and nil otherwise.
func (r *VerifyReport) Err() error {
	damages, contradictions := len(r.Damages)+r.MoreDamages, len(r.Contradictions)+r.MoreContradictions
	if damages+contradictions == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %d damaged parts of files, %d contradictory records", ErrCorrupt, damages, contradictions)
	switch {
	case damages > 0:
		return fmt.Errorf("%w; first: %v", err, r.Damages[0])
	default:
		return fmt.Errorf("%w; first: %v", err, r.Contradictions[0])
	}
}

// verification is a Verify under way.
type verification struct {
	s        *Store
	pace     *pace
	o        VerifyOptions
	progress VerifyProgress
	report   *VerifyReport
	damages  damageList
}

// Verify reads every file of the store and compares all checksums, and lets each layer
// check its records, while the store goes on. Its findings are in the report; an error says
// that the pass could not be finished. It reads the files past the guard, so that damage
// which it meets is reported and has no other effect.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (*VerifyReport, error) {
	if err := CheckContext(ctx); err != nil {
		return nil, err
	}
	switch {
	case o.BytesPerSecond < Unlimited:
		return nil, Invalid("BytesPerSecond %d of Verify is negative", o.BytesPerSecond)
	case o.BytesPerSecond == 0:
		o.BytesPerSecond = DefaultVerifyRate
	case o.BytesPerSecond == Unlimited:
		o.BytesPerSecond = 0
	}
	begun := time.Now()
	v := &verification{s: s, o: o, report: &VerifyReport{}}
	v.pace = &pace{ctx: ctx, rate: o.BytesPerSecond, down: s.down, cause: s.Cause, moved: v.moved}
	err := v.run()
	r := v.report
	r.Damages, r.MoreDamages = v.damages.list, v.damages.more
	r.Files, r.Objects, r.Bytes, r.Took = v.progress.Files, v.progress.Objects, v.pace.bytes, time.Since(begun)
	if err != nil {
		return nil, fmt.Errorf("pebblemq: verify %s: %w", s.opts.Dir, err)
	}
	return r, nil
}

func (v *verification) run() error {
	if err := v.pace.err(); err != nil {
		return err
	}
	v.ownFiles()
	if err := v.journals(); err != nil {
		return err
	}
	if err := v.tables(); err != nil {
		return err
	}
	return v.objects()
}

// moved tells the caller how far the pass is.
func (v *verification) moved() {
	if v.o.Progress != nil {
		v.progress.Bytes = v.pace.bytes
		v.o.Progress(v.progress)
	}
}

// objects has the kernel and the layers check their records. An object with damaged
// records is left out: to read them would only repeat what is reported already.
func (v *verification) objects() error {
	v.nameDamages()
	a, err := v.s.newAudit(v.pace, false)
	if err != nil {
		return err
	}
	defer a.close()
	if v.report.Lost, err = a.kernel(); err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		v.report.Unchecked = append(v.report.Unchecked, fmt.Sprintf("catalog: %v", err))
	}
	err = a.each(func(o *Object) error {
		name := a.byID.part(o.ID, nil).Object()
		if d := v.damageOf(o.ID); d != nil {
			v.report.Unchecked = append(v.report.Unchecked, fmt.Sprintf("%s: %s is damaged", name, d.File))
			return nil
		}
		v.progress.Objects++
		switch err := a.run(o); {
		case errors.Is(err, errNoCheck) || errors.Is(err, ErrCorrupt):
			v.report.Unchecked = append(v.report.Unchecked, fmt.Sprintf("%s: %v", name, err))
		case err != nil:
			return err
		}
		return nil
	})
	v.report.Contradictions, v.report.MoreContradictions = a.found, a.more
	return err
}

// nameDamages says which objects the damaged parts may belong to.
func (v *verification) nameDamages() {
	for i := range v.damages.list {
		if d := &v.damages.list[i]; d.keys() {
			d.Holds = v.s.Contents(d.Lo, d.Hi)
		}
	}
}

func (v *verification) damageOf(id uint32) *Damage {
	for i := range v.damages.list {
		d := &v.damages.list[i]
		if d.keys() && mayHave(id, d.Lo, d.Hi) {
			return d
		}
	}
	return nil
}
