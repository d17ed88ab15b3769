package workqueue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestALowPriorityIsOvertakenBySoManyInARowAndIsNextThen(t *testing.T) {
	for _, c := range []struct {
		overtakes int
		want      string
	}{
		{0, "3 3 3 3 3 3 2 2 1 1"},
		{1, "3 2 1 3 2 1 3 3 3 3"},
		{2, "3 3 2 1 3 3 2 1 3 3"},
		{4, "3 3 3 3 2 1 3 3 2 1"},
		{5, "3 3 3 3 3 2 1 3 2 1"},
	} {
		t.Run(fmt.Sprint(c.overtakes), func(t *testing.T) {
			_, b := open(t)
			declareWith(t, b, workqueue.QueueConfig{MaxPriority: 3, MaxOvertakes: c.overtakes})
			for p, n := range []int{1: 2, 2: 2, 3: 6} {
				for range n {
					publishPriority(t, b, fmt.Sprint(p), uint8(p))
				}
			}
			require.Equal(t, c.want, strings.Join(drain(t, b), " "))
		})
	}
}

// The model keeps a list for each priority, and how often its first was overtaken.
func TestModelOfOvertaking(t *testing.T) {
	_, b := open(t)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		name, most := fmt.Sprint("q", n), rapid.IntRange(1, 4).Draw(r, "overtakes")
		declareQueue(r, b, name, &workqueue.QueueConfig{MaxPriority: 3, MaxOvertakes: most})
		var lists [4][]string
		var overtaken [4]int
		choose := func() (next int) {
			for p := 3; p >= 0; p-- {
				if len(lists[p]) > 0 && overtaken[p] >= most {
					return p
				}
			}
			for next = 3; next > 0 && len(lists[next]) == 0; next-- {
			}
			return next
		}
		published := 0
		r.Repeat(map[string]func(*rapid.T){
			"publish": func(r *rapid.T) {
				p := rapid.IntRange(0, 3).Draw(r, "priority")
				published++
				body := fmt.Sprint(published)
				require.NoError(r, b.Publish(bg, "", name, workqueue.Message{Body: []byte(body), Priority: uint8(p)}))
				lists[p] = append(lists[p], body)
			},
			"get": func(r *rapid.T) {
				d, ok, err := queueOf(r, b, name).Get(bg)
				require.NoError(r, err)
				p := choose()
				require.Equal(r, len(lists[p]) > 0, ok)
				if !ok {
					return
				}
				require.Equal(r, lists[p][0], string(d.Body))
				require.NoError(r, d.Ack(bg))
				lists[p], overtaken[p] = lists[p][1:], 0
				for lower := range p {
					if overtaken[lower]++; len(lists[lower]) == 0 {
						overtaken[lower] = 0
					}
				}
			},
		})
		require.NoError(r, queueOf(r, b, name).Delete(bg))
	})
}

func TestMaxOvertakesIsStoredAndNeedsPriorities(t *testing.T) {
	_, b := open(t)
	for _, c := range []workqueue.QueueConfig{{MaxOvertakes: 1}, {MaxOvertakes: -1, MaxPriority: 1}} {
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "none", &c)), pebblemq.ErrInvalid, "%+v", c)
	}
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 1, MaxOvertakes: 1})
	_, err := b.DeclareQueue(bg, "q", &workqueue.QueueConfig{MaxPriority: 1})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "MaxOvertakes")
	publishPriority(t, b, "low", 0)
	publishPriority(t, b, "high", 1)
	publishPriority(t, b, "high", 1)
	require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MaxPriority: 1}))
	require.Equal(t, []string{"high", "high", "low"}, drain(t, b), "an alteration counts at once")
}
