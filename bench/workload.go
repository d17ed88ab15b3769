package main

import "slices"

// Workload is a kind of work, in several variants.
type Workload struct {
	ID       string
	Title    string
	Unit     string // what Rate counts
	Variants []Variant
}

// Variant is a workload with its numbers.
type Variant struct {
	Name string // within the workload
	Params

	// Only restricts the variant to one durability; empty is both.
	Only Durability
	// Rounds overrides how often the cell is run; 0 is the flag's.
	Rounds int
	// Large marks what -quick leaves out.
	Large bool

	Offered func(*Peer) bool
	// Prepare stores what the rounds need, in a process of its own; nil if they
	// need nothing. Variants in a row with the same Store share it, at either
	// durability.
	Prepare func(*Cell) error
	Store   string
	Run     func(*Cell) (Sample, error)
}

// Params are the numbers of a variant. Those that do not apply are 0.
type Params struct {
	Size     int `json:"size,omitempty"`     // of a body, in bytes
	Batch    int `json:"batch,omitempty"`    // bodies in a call
	Workers  int `json:"workers,omitempty"`  // goroutines, of each kind
	Count    int `json:"count,omitempty"`    // messages or keys, where that is fixed
	Queues   int `json:"queues,omitempty"`   // that a message goes to
	Bindings int `json:"bindings,omitempty"` // of an exchange
	Groups   int `json:"groups,omitempty"`   // of messages in order
	Rate     int `json:"rate,omitempty"`     // messages a second, where that is fixed
}

func (v Variant) durabilities() []Durability {
	if v.Only != "" {
		return []Durability{v.Only}
	}
	return []Durability{Durable, Relaxed}
}

// workloads returns all of them, in the order in which they are shown.
func workloads() []Workload {
	return slices.Concat(
		appendWorkloads(), replayWorkloads(), queueWorkloads(), backlogWorkloads(), fanoutWorkloads(),
		visibilityWorkloads(), dedupeWorkloads(), txWorkloads(),
	)
}

func findVariant(workload, name string) (Workload, Variant, bool) {
	for _, w := range workloads() {
		if w.ID != workload {
			continue
		}
		for _, v := range w.Variants {
			if v.Name == name {
				return w, v, true
			}
		}
	}
	return Workload{}, Variant{}, false
}
