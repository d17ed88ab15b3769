package admin

import (
	"cmp"
	"slices"
	"strings"
)

const (
	defaultSize = 50
	maxSize     = 1000
)

// listIn are the parameters of every table.
type listIn struct {
	Filter string `in:"filter" about:"Keep the rows that contain this text."`
	Sort   string `in:"sort" about:"Column to sort by; a minus before it sorts downwards."`
	Page   int    `in:"page" about:"Page to show, from 1."`
	Size   int    `in:"size" about:"Rows of a page, 50 by default and 1000 at most."`
}

// table is one page of rows.
type table[T any] struct {
	Rows    []T    `json:"rows"`
	Total   int    `json:"total" about:"Rows before the filter."`
	Matched int    `json:"matched" about:"Rows that the filter has left."`
	Page    int    `json:"page"`
	Pages   int    `json:"pages"`
	Sort    string `json:"sort"`
	Filter  string `json:"filter,omitempty"`
}

// columns are what a table can be sorted by. The first one is the default.
type columns[T any] []column[T]

type column[T any] struct {
	name    string
	compare func(a, b T) int
}

// by compares rows by a key.
func by[T any, K cmp.Ordered](name string, key func(T) K) column[T] {
	return column[T]{name, func(a, b T) int { return cmp.Compare(key(a), key(b)) }}
}

// page filters and sorts rows, and cuts out the page that was asked for. Text is what the filter looks
// at; equal rows keep their order.
func (c columns[T]) page(rows []T, in listIn, text func(T) string) (table[T], error) {
	in.Size = cmp.Or(in.Size, defaultSize)
	in.Page = cmp.Or(in.Page, 1)
	if in.Size < 1 || in.Size > maxSize {
		return table[T]{}, invalid("size %d is not between 1 and %d", in.Size, maxSize)
	}
	t := table[T]{Total: len(rows), Sort: cmp.Or(in.Sort, c[0].name), Filter: in.Filter}
	order, err := c.order(t.Sort)
	if err != nil {
		return table[T]{}, err
	}
	kept := make([]T, 0, len(rows))
	needle := strings.ToLower(in.Filter)
	for _, row := range rows {
		if needle == "" || strings.Contains(strings.ToLower(text(row)), needle) {
			kept = append(kept, row)
		}
	}
	slices.SortStableFunc(kept, order)
	t.Matched, t.Pages = len(kept), max((len(kept)+in.Size-1)/in.Size, 1)
	if in.Page < 1 {
		return table[T]{}, invalid("page %d is below 1", in.Page)
	}
	t.Page = min(in.Page, t.Pages) // rows may have gone since the link was made
	from := (t.Page - 1) * in.Size
	t.Rows = slices.Clip(kept[from:min(from+in.Size, len(kept))])
	return t, nil
}

func (c columns[T]) order(sort string) (func(a, b T) int, error) {
	name, down := strings.CutPrefix(sort, "-")
	names := make([]string, 0, len(c))
	for _, column := range c {
		if column.name == name && down {
			return func(a, b T) int { return column.compare(b, a) }, nil
		}
		if column.name == name {
			return column.compare, nil
		}
		names = append(names, column.name)
	}
	return nil, invalid("sort is %.40q, and not one of %s", sort, strings.Join(names, ", "))
}
