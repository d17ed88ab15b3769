package pebblemq

// Ensured says what EnsureTopic, EnsureQueue and their like did.
type Ensured struct {
	Created bool     // the object did not exist
	Altered []string // fields of its configuration that were others, by name
}

// Unchanged reports that the object was there with the same configuration.
func (e Ensured) Unchanged() bool { return !e.Created && len(e.Altered) == 0 }
