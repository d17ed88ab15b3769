package log

import (
	"cmp"
	"slices"
)

// nobody stands for the owner of a partition without one.
const nobody = -1

// spread gives each partition to one of n members so that their shares differ by
// at most one, and moves as few partitions as possible for that. It changes
// owners, which holds for each partition the number of its member, or nobody.
func spread(owners []int, n int) {
	if n == 0 {
		for i := range owners {
			owners[i] = nobody
		}
		return
	}
	room := shares(owners, n)
	for i, m := range owners {
		if m == nobody {
			continue
		}
		if room[m]--; room[m] < 0 {
			owners[i] = nobody
		}
	}
	next := 0
	for i, m := range owners {
		if m != nobody {
			continue
		}
		for room[next] <= 0 {
			next++
		}
		owners[i] = next
		room[next]--
	}
}

// shares returns how many partitions each member is to have. Where it does not
// come out even, those with more now keep more.
func shares(owners []int, n int) []int {
	have := make([]int, n)
	for _, m := range owners {
		if m != nobody {
			have[m]++
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(have[b], have[a]) })
	share := make([]int, n)
	for rank, m := range order {
		share[m] = len(owners) / n
		if rank < len(owners)%n {
			share[m]++
		}
	}
	return share
}
