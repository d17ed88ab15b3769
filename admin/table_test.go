package admin

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
)

func TestATableSortsFiltersAndPages(t *testing.T) {
	var rows []int
	for n := range 120 {
		rows = append(rows, n%60)
	}
	numbers := columns[int]{by("n", func(n int) int { return n })}
	for name, c := range map[string]struct {
		in      listIn
		want    []int
		matched int
		pages   int
	}{
		"upwards":     {listIn{Size: 3}, []int{0, 0, 1}, 120, 40},
		"downwards":   {listIn{Size: 3, Sort: "-n"}, []int{59, 59, 58}, 120, 40},
		"second page": {listIn{Size: 3, Page: 2}, []int{1, 2, 2}, 120, 40},
		"filtered":    {listIn{Filter: "7", Size: 2}, []int{7, 7}, 12, 6},
		"none left":   {listIn{Filter: "x"}, []int{}, 0, 1},
		"beyond":      {listIn{Size: 100, Page: 9, Sort: "-n"}, rowsDown(10), 120, 2},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := numbers.page(rows, c.in, strconv.Itoa)
			require.NoError(t, err)
			require.Equal(t, c.matched, got.Matched)
			require.Equal(t, c.pages, got.Pages)
			require.Equal(t, 120, got.Total)
			require.Equal(t, c.want, got.Rows)
		})
	}
	for _, bad := range []listIn{{Size: -1}, {Size: maxSize + 1}, {Page: -1}, {Sort: "m"}} {
		_, err := numbers.page(rows, bad, strconv.Itoa)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	}
}

// rowsDown are the last rows of two of each number, downwards.
func rowsDown(from int) (rows []int) {
	for n := from - 1; n >= 0; n-- {
		rows = append(rows, n, n)
	}
	return rows
}
