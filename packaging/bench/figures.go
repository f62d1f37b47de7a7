package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Figures are what was measured, in the order in which it was first.
type figures struct{ all []*figure }

// A figure is one quantity in all runs.
type figure struct {
	subject, what, who string
	values             []float64
}

// add notes one value: of what subject, what it is and in which unit, and whose.
func (f *figures) add(subject, what, who string, value float64) {
	one := f.find(subject, what, who)
	if one == nil {
		one = &figure{subject: subject, what: what, who: who}
		f.all = append(f.all, one)
	}
	one.values = append(one.values, value)
}

// find returns nil for what was not measured.
func (f *figures) find(subject, what, who string) *figure {
	for _, one := range f.all {
		if one.subject == subject && one.what == what && one.who == who {
			return one
		}
	}
	return nil
}

func (f *figure) min() float64 { return slices.Min(f.values) }
func (f *figure) max() float64 { return slices.Max(f.values) }

func (f *figure) median() float64 { return quantile(f.values, 0.5) }

// spread is the median with the least and the most of several runs.
func (f *figure) spread() string {
	if f == nil {
		return "-"
	}
	if len(f.values) == 1 || number(f.min()) == number(f.max()) {
		return number(f.median())
	}
	return fmt.Sprintf("%s (%s to %s)", number(f.median()), number(f.min()), number(f.max()))
}

// quantile returns the value below which a share of the others lies.
func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// number prints three digits that count, and thousands with commas.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if decimals >= 0 {
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', min(decimals, 5), 64), ".0")
	}
	unit := math.Pow(10, float64(-decimals))
	return commas(strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64))
}

// digits prints all of a count.
func digits(n int) string { return commas(strconv.Itoa(n)) }

func commas(text string) string {
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
