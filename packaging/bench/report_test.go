package main

import "testing"

// What stands outside of the measured parts stays as it was written.
func TestRenew(t *testing.T) {
	const (
		kept  = "# Mine\n<!-- measured: table -->\nold\n<!-- end -->\nwhy\n<!-- measured: gone -->\nstays\n<!-- end -->\nend\n"
		fresh = "# Theirs\n<!-- measured: table -->\nnew $1\n<!-- end -->\n<!-- measured: more -->\nmore\n<!-- end -->\n"
		want  = "# Mine\n<!-- measured: table -->\nnew $1\n<!-- end -->\nwhy\n<!-- measured: gone -->\nstays\n<!-- end -->\nend\n"
	)
	if got := renew(kept, fresh); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0123456: "0.0123", 0.5: "0.500", 1.234: "1.23", 45.67: "45.7", 999: "999",
		1234: "1,230", 3_876_543: "3,880,000", -350.4: "-350", -1234: "-1,230", 0.000001: "0.00000",
	} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if got := digits(1_234_567); got != "1,234,567" {
		t.Error(got)
	}
}

func TestSpread(t *testing.T) {
	var f figures
	for _, v := range []float64{3, 1, 2} {
		f.add("replay", "s", "band", v)
	}
	f.add("replay", "s", "grep", 7)
	for who, want := range map[string]string{"band": "2.00 (1.00 to 3.00)", "grep": "7.00", "nobody": "-"} {
		if got := f.find("replay", "s", who).spread(); got != want {
			t.Errorf("%s: %s, want %s", who, got, want)
		}
	}
}

func TestCurve(t *testing.T) {
	const out = `goos: linux
BenchmarkRecord/jails=1-2         	     319	   1372972 ns/op	       828.6 ns/record	   58501 B/op	    1963 allocs/op
BenchmarkRecord/jails=50-2        	     278	   1082087 ns/op	      1e+03 ns/record	   58864 B/op	    1964 allocs/op
BenchmarkRecord/jails=1           	     319	   1372972 ns/op	       830 ns/record	   58501 B/op	    1963 allocs/op
BenchmarkRecord/bans=1-2          	     319	   1372972 ns/op	       1.5 ns/record	   58501 B/op	    1963 allocs/op
BenchmarkSentence/jails=1-2       	     319	   1372972 ns/op	       1.5 ns/record	   58501 B/op	    1963 allocs/op
PASS
`
	c := curve{benchmark: "Record", of: "jails", unit: "ns/record"}
	if err := c.read(out); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Points(), "1: 830, 50: 1,000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := c.points[0].values.min(); got != 828.6 {
		t.Error(got)
	}
}
