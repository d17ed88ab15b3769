package routing

// Place is what a binding leads to.
type Place struct {
	// Name tells the place from all others, also after a restart: a Hash exchange goes by it.
	Name string
	// Exchange is the exchange that this is, nil if it is something of the caller's.
	Exchange *Exchange
	// Owner is the caller's, for what is found.
	Owner any

	visited uint64 // by which walk
}

// places are those that some bindings lead to, each with the number of these.
type places struct {
	list []lead
	at   map[*Place]int // where each is in the list, once that is long
}

type lead struct {
	place *Place
	count int
}

// fewPlaces is how long a list is searched faster than a map.
const fewPlaces = 8

func (s *places) find(to *Place) (at int, known bool) {
	if s.at != nil {
		at, known = s.at[to]
		return at, known
	}
	for i := range s.list {
		if s.list[i].place == to {
			return i, true
		}
	}
	return 0, false
}

func (s *places) add(to *Place) {
	if i, known := s.find(to); known {
		s.list[i].count++
		return
	}
	s.list = append(s.list, lead{to, 1})
	switch {
	case s.at != nil:
		s.at[to] = len(s.list) - 1
	case len(s.list) > fewPlaces:
		s.at = make(map[*Place]int)
		for i := range s.list {
			s.at[s.list[i].place] = i
		}
	}
}

func (s *places) remove(to *Place) {
	i, known := s.find(to)
	if !known {
		return
	}
	if s.list[i].count--; s.list[i].count > 0 {
		return
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.list[last] = lead{}
	s.list = s.list[:last]
	if s.at != nil {
		delete(s.at, to)
		if i < last {
			s.at[s.list[i].place] = i
		}
	}
}
