package main

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/spf13/cobra"
)

// finding is something that is wrong with a store.
type finding struct {
	What  string   `json:"what"` // damage, contradiction, repaired, lost or unchecked
	File  string   `json:"file"`
	Text  string   `json:"text"`
	Holds []string `json:"holds"` // what may be out of reach
}

type verified struct {
	Files    int     `json:"files"`
	Objects  int     `json:"objects"`
	Bytes    int64   `json:"bytes"`
	Findings int     `json:"findings"`
	Seconds  float64 `json:"seconds"`
}

func verifyCommand(f *flags) *cobra.Command {
	var rate int64
	c := &cobra.Command{
		Use: "verify DIR", Short: "Compare all checksums and counters, and say what is damaged", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				bar := newProgress("verify", -1, inBytes())
				r, err := db.Verify(c.Context(), &pebblemq.VerifyOptions{
					BytesPerSecond: rate,
					Progress:       func(p pebblemq.VerifyProgress) { bar.set(p.Bytes, p.TotalBytes) },
				})
				bar.end()
				if err != nil {
					return err
				}
				found := findings(r.Damages, r.Contradictions, "contradiction")
				for _, text := range r.Unchecked {
					found = append(found, finding{What: "unchecked", Text: text})
				}
				if err := printFindings(c, f, found); err != nil {
					return err
				}
				all := len(found) + r.MoreDamages + r.MoreContradictions
				if err := printOne(c.OutOrStdout(), f.json, verified{r.Files, r.Objects, r.Bytes, all, seconds(r.Took)}); err != nil {
					return err
				}
				return advise(r.Err())
			})
		},
	}
	c.Flags().Int64Var(&rate, "rate", pebblemq.Unlimited, "bytes to read a second, -1 for no limit")
	return c
}

type salvaged struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Keys     int64   `json:"keys"`
	Bytes    int64   `json:"bytes"`
	Findings int     `json:"findings"`
	Seconds  float64 `json:"seconds"`
}

func salvageCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "salvage DIR TO", Short: "Write a new store with all that can be read of a damaged one", Args: cobra.ExactArgs(2),
		Long: "Write a new store to TO, which must not exist. DIR stays as it is. The exit code is 4 if anything\nwas lost or repaired.",
		RunE: func(c *cobra.Command, args []string) error {
			bar := newProgress("salvage", -1, inBytes())
			r, err := pebblemq.Salvage(c.Context(), args[0], args[1], &pebblemq.SalvageOptions{
				Progress: func(p pebblemq.SalvageProgress) { bar.set(p.BytesRead, 0) },
			})
			bar.end()
			if err != nil {
				return err
			}
			found := findings(r.Damages, r.Repaired, "repaired")
			for _, l := range r.Lost {
				found = append(found, finding{What: "lost", Text: fmt.Sprintf("object %d", l.ID), Holds: l.Records})
			}
			if err := printFindings(c, f, found); err != nil {
				return err
			}
			all := len(found) + r.MoreDamages + r.MoreRepaired
			if err := printOne(c.OutOrStdout(), f.json, salvaged{args[0], args[1], r.Keys, r.Bytes, all, seconds(r.Took)}); err != nil {
				return err
			}
			return r.Err()
		},
	}
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func findings(damages []pebblemq.Damage, contradictions []pebblemq.Contradiction, what string) (list []finding) {
	for _, d := range damages {
		list = append(list, finding{"damage", d.File, d.String(), d.Holds})
	}
	for _, x := range contradictions {
		list = append(list, finding{What: what, Text: x.String()})
	}
	return list
}

// printFindings prints one line each: these are sentences, not cells of a table.
func printFindings(c *cobra.Command, f *flags, list []finding) error {
	if f.json {
		return printRows(c.OutOrStdout(), true, list)
	}
	for _, x := range list {
		if _, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", x.What, x.Text); err != nil {
			return err
		}
	}
	return nil
}
