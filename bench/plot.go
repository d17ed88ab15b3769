package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// writePlots draws a chart for each workload and durability into a directory:
// the figures on a logarithmic scale, a line for each variant, a mark for each
// peer.
func writePlots(dir string, rep *Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range rep.sheets() {
		for _, latency := range []bool{false, true} {
			c := newChart(s, latency)
			if len(c.tables) == 0 || len(s.present(rep)) == 0 {
				continue
			}
			name := fmt.Sprintf("%s-%s.svg", s.workload, s.durability)
			if latency {
				name = fmt.Sprintf("%s-latency-%s.svg", s.workload, s.durability)
			}
			if err := c.save(filepath.Join(dir, name), rep); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// chart is the columns of a sheet that have the same unit.
type chart struct {
	*sheet
	latency bool
	tables  []table
}

func newChart(s *sheet, latency bool) chart {
	c := chart{sheet: s, latency: latency}
	for _, t := range s.tables {
		if t.rows[0].byLatency() == latency {
			c.tables = append(c.tables, t)
		}
	}
	return c
}

func (c chart) save(file string, rep *Report) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s %s: %s", c.workload, c.title, c.durability)
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.X.Label.Text = c.unit + ", more is better"
	if c.latency {
		p.X.Label.Text = "seconds, p50; less is better"
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{c.latency}
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = true, false, vg.Points(95)
	var names []string
	for i := range c.tables {
		names = append(names, c.tables[len(c.tables)-1-i].rows[0].Variant)
	}
	for i, a := range rep.Peers {
		peer, points := a.Name, c.points(a.Name)
		if len(points) == 0 {
			continue
		}
		marks, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		marks.GlyphStyle = glyph(i, peer)
		p.Add(marks)
		p.Legend.Add(peer, marks)
	}
	p.X.Min = math.Pow10(int(math.Floor(math.Log10(p.X.Min))))
	p.X.Max = math.Pow10(int(math.Ceil(math.Log10(p.X.Max))))
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.5, float64(len(names))-0.5
	return savePlot(p, file, len(names))
}

// decades are ticks at the powers of ten, written as the tables write them.
type decades struct{ latency bool }

func (d decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := low; v <= high*1.01; v *= 10 {
		label := rate(v)
		if d.latency {
			label = duration(v)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
		for i := 2.0; i < 10 && v*i < high; i++ {
			ticks = append(ticks, plot.Tick{Value: v * i})
		}
	}
	return ticks
}

// points are a peer's figures, the first variant on top.
func (c chart) points(peer string) plotter.XYs {
	var points plotter.XYs
	for i, t := range c.tables {
		r := t.row(peer)
		if r == nil || r.Median == nil {
			continue
		}
		if v := r.value(*r.Median); v > 0 {
			points = append(points, plotter.XY{X: v, Y: float64(len(c.tables) - 1 - i)})
		}
	}
	return points
}

// savePlot leaves room for the legend on the right.
func savePlot(p *plot.Plot, file string, lines int) error {
	width, height := 9*vg.Inch, vg.Length(lines)*0.5*vg.Inch+2*vg.Inch
	canvas, err := draw.NewFormattedCanvas(width, height, "svg")
	if err != nil {
		return err
	}
	area := draw.New(canvas)
	p.Draw(draw.Crop(area, vg.Points(6), -vg.Points(110), vg.Points(6), -vg.Points(6)))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := canvas.WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

var (
	colours = []color.Color{
		color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}, color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff},
		color.RGBA{R: 0x7f, G: 0x7f, B: 0x7f, A: 0xff}, color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff},
		color.RGBA{R: 0x94, G: 0x67, B: 0xbd, A: 0xff}, color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff},
		color.RGBA{R: 0x8c, G: 0x56, B: 0x4b, A: 0xff}, color.RGBA{R: 0x17, G: 0xbe, B: 0xcf, A: 0xff},
		color.RGBA{R: 0xbc, G: 0xbd, B: 0x22, A: 0xff}, color.RGBA{R: 0xe3, G: 0x77, B: 0xc2, A: 0xff},
	}
	shapes = []draw.GlyphDrawer{
		draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{},
		draw.PyramidGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{},
	}
)

// glyph makes ourselves stand out.
func glyph(i int, peer string) draw.GlyphStyle {
	g := draw.GlyphStyle{Color: colours[i%len(colours)], Shape: shapes[i%len(shapes)], Radius: vg.Points(4.5)}
	if peer == mqPeer.Name {
		g.Radius = vg.Points(7)
	}
	return g
}
