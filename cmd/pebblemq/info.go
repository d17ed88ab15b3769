package main

import (
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/spf13/cobra"
)

type storeInfo struct {
	Health  string `json:"health"`
	Disk    uint64 `json:"diskBytes"`
	WAL     uint64 `json:"walBytes"`
	Free    uint64 `json:"freeBytes"`
	Tables  int64  `json:"tables"`
	Unclean bool   `json:"unclean"` // the process before did not close the store
	Damaged int    `json:"damagedFiles"`

	Topics           int `json:"topics"`
	Groups           int `json:"groups"`
	Brokers          int `json:"brokers"`
	Exchanges        int `json:"exchanges"`
	WorkQueues       int `json:"workQueues"`
	VisibilityQueues int `json:"visibilityQueues"`
	Namespaces       int `json:"namespaces"`

	Time time.Time `json:"time"`
}

func infoCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "info DIR", Short: "Sizes, health and objects of a store", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				d, err := describe(c.Context(), db)
				if err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, newStoreInfo(d, db.Health()))
			})
		},
	}
}

func newStoreInfo(d pebblemq.Description, h pebblemq.Health) storeInfo {
	n := make(map[string]int)
	for _, o := range d.Objects {
		n[o.Kind]++
	}
	return storeInfo{
		Health: h.String(), Disk: d.Stats.DiskBytes, WAL: d.Stats.WALBytes, Free: d.Stats.FreeBytes, Tables: d.Stats.Tables,
		Unclean: d.Stats.Unclean, Damaged: len(d.Stats.Damaged),
		Topics: n["topic"], Groups: n["group"], Brokers: n["broker"], Exchanges: n["exchange"], WorkQueues: n["work queue"],
		VisibilityQueues: n["visibility queue"], Namespaces: n["namespace"], Time: d.Time,
	}
}
