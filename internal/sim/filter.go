package main

// drawFilter draws which messages a redrive is to move.
func (w *world) drawFilter(a args) {
	if w.likes("filters") && w.chance(2) {
		a["filter"] = oneOf(w, "half", "half", "nothing", "everything")
	}
}

// filterOf returns the filter of a redrive, by the name of a message; nil if it has none. The library
// calls it while the world is not held.
func (w *world) filterOf(a args) func(name string) bool {
	switch a["filter"] {
	case "half":
		return func(name string) bool { return w.hash("filter "+name)%2 == 0 }
	case "nothing":
		return func(string) bool { return false }
	case "everything":
		return func(string) bool { return true }
	}
	return nil
}
