package admin

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
)

// The drawings are SVG in the page. Colours come from the stylesheet by class.

const curveWidth, curveHeight = 240.0, 44.0

// curve draws the values of the last hour, the newest at the right edge.
func curve(v figureView) template.HTML {
	top := 0.0
	for _, y := range v.History {
		top = max(top, y)
	}
	var line strings.Builder
	for n, y := range v.History {
		x := curveWidth - float64(len(v.History)-1-n)*curveWidth/float64(maxSamples)
		step := "L"
		if n == 0 {
			step = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", step, x, curveHeight-2-scaled(y, top)*(curveHeight-6))
	}
	label := template.HTMLEscapeString(fmt.Sprintf("%s in the last hour, at most %s", v.Title, amount(top, v.Unit)))
	return template.HTML(fmt.Sprintf(`<svg class="curve" viewBox="0 0 %g %g" preserveAspectRatio="none" role="img" aria-label="%s"><path d="%s"/></svg>`,
		curveWidth, curveHeight, label, line.String())) //nolint:gosec // numbers, and a text that was escaped
}

func scaled(y, top float64) float64 {
	if top == 0 {
		return 0
	}
	return y / top
}

const (
	drawnBindings = 80
	boxWidth      = 220
	boxHeight     = 28
	rowHeight     = 40
	columnGap     = 190
	labelChars    = 26

	lineLabelChars = 22
)

// box is a node of the topology.
type box struct {
	kind, name, path string
	x, y             int
}

// topology is a drawing of exchanges at the left and destinations at the right.
type topology struct {
	base  string
	boxes map[[2]string]*box // by kind and name
	lines []bindingView
}

// drawTopology draws the bindings that the page of a broker shows.
func drawTopology(base, broker string, exchanges []exchangeView, bindings []bindingView) template.HTML {
	t := &topology{base: base, boxes: make(map[[2]string]*box)}
	t.lines = bindings[:min(len(bindings), drawnBindings)]
	if len(bindings) == 0 {
		for _, e := range exchanges[:min(len(exchanges), drawnBindings)] {
			t.place("exchange", e.Name, "")
		}
	}
	for _, b := range t.lines {
		t.place("exchange", b.Exchange, "")
		t.place(b.Kind, b.To, b.Path(broker))
	}
	return template.HTML(t.draw()) //nolint:gosec // every text in it was escaped
}

// place adds a box below those of its column.
func (t *topology) place(kind, name, path string) {
	key := [2]string{kind, name}
	if t.boxes[key] != nil {
		return
	}
	x, rows := 24, 0
	if kind != "exchange" {
		x += boxWidth + columnGap
	}
	for _, other := range t.boxes {
		if other.x == x {
			rows++
		}
	}
	t.boxes[key] = &box{kind, name, path, x, 8 + rows*rowHeight}
}

func (t *topology) draw() string {
	var b strings.Builder
	height := 0
	for _, x := range t.boxes {
		height = max(height, x.y+rowHeight)
	}
	fmt.Fprintf(&b, `<svg class="topology" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="Exchanges and where their bindings lead">`,
		48+2*boxWidth+columnGap, height)
	for _, line := range t.lines {
		t.line(&b, line)
	}
	for _, line := range t.lines {
		t.label(&b, line)
	}
	byPlace := func(a, b *box) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(a.y, b.y)) }
	for _, x := range slices.SortedFunc(maps.Values(t.boxes), byPlace) {
		t.box(&b, x)
	}
	b.WriteString("</svg>")
	return b.String()
}

// line draws a binding. One between exchanges is an arc at their left.
func (t *topology) line(b *strings.Builder, v bindingView) {
	from, to := t.boxes[[2]string{"exchange", v.Exchange}], t.boxes[[2]string{v.Kind, v.To}]
	title := template.HTMLEscapeString(fmt.Sprintf("%s to %s by %q", v.Exchange, v.To, v.Label()))
	y, z := from.y+boxHeight/2, to.y+boxHeight/2
	if v.Kind == "exchange" {
		fmt.Fprintf(b, `<path class="line" d="M%d %d C0 %d 0 %d %d %d"><title>%s</title></path>`, from.x, y, y, z, from.x, z, title)
		return
	}
	x := from.x + boxWidth
	fmt.Fprintf(b, `<path class="line" d="M%d %d C%d %d %d %d %d %d"><title>%s</title></path>`, x, y, x+columnGap/2, y, to.x-columnGap/2, z, to.x, z, title)
}

// label writes the key of a binding before its destination.
func (t *topology) label(b *strings.Builder, v bindingView) {
	to := t.boxes[[2]string{v.Kind, v.To}]
	if text := cut(v.Label(), lineLabelChars); text != "" && v.Kind != "exchange" {
		fmt.Fprintf(b, `<text class="label" x="%d" y="%d" text-anchor="end">%s</text>`, to.x-8, to.y+boxHeight/2-4, template.HTMLEscapeString(text))
	}
}

func (t *topology) box(b *strings.Builder, x *box) {
	text := fmt.Sprintf(`<g class="%s"><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="5"/><text x="%d" y="%d">%s</text></g>`,
		strings.ReplaceAll(x.kind, " ", "-"), template.HTMLEscapeString(x.kind+" "+x.name), x.x, x.y, boxWidth, boxHeight,
		x.x+10, x.y+boxHeight/2+5, template.HTMLEscapeString(cut(x.name, labelChars)))
	if x.path != "" {
		text = fmt.Sprintf(`<a href="%s">%s</a>`, template.HTMLEscapeString(t.base+x.path), text)
	}
	b.WriteString(text)
}
