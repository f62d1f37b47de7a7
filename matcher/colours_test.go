package matcher_test

import (
	"bytes"
	"slices"
	"testing"

	"band/matcher"
)

// A console's colours, which it sets back behind each record at the start of the
// next line, are neither a part of a message nor half a record.
func TestColours(t *testing.T) {
	const colour, back = "\x1b[35m", "\x1b[m"
	record := colour + stamp + fail + "\n" + back
	tests := []struct {
		name, input string
		want        []string
		torn        bool
	}{
		{"one", record, []string{fail}, false},
		{"two", record + record, []string{fail, fail}, false},
		{"a line of nothing else", record + back + "\n" + record, []string{fail, fail}, false},
		{"behind the text", colour + stamp + fail + "\x1b[0m" + back + "\n", []string{fail}, false},
		{"half of one", record + "\x1b[3", []string{"-"}, true},
		{"text behind", record + "x", []string{"-"}, true},
		{"text that ends like one", stamp + "[INFO] a.c:1 35m\n", []string{"[INFO] a.c:1 35m"}, false},
		{"not at the end", stamp + "[INFO] a.c:1 \x1b[35mm\n", []string{"[INFO] a.c:1 \x1b[35mm"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			framer := matcher.NewFramer(format(t))
			framer.Push([]byte(tt.input))
			records := framer.Drain(nil)
			if framer.Torn() != tt.torn {
				t.Errorf("torn: %v", framer.Torn())
			}
			if got := messages(framer.Finish(records)); !slices.Equal(got, tt.want) {
				t.Errorf("messages %q, want %q", got, tt.want)
			}
		})
	}
}

// What a real console wrote is framed as what the file of the same traffic holds.
func TestColoursChangeNothing(t *testing.T) {
	for name, log := range recordings(t) {
		plain := frame(format(t), log)
		var console []byte
		for _, r := range plain {
			console = append(append(append(console, "\x1b[m\x1b[33m"...), r.Text...), '\n')
		}
		coloured := frame(format(t), append(console, "\x1b[m"...))
		if len(coloured) != len(plain) {
			t.Fatalf("%s: %d records, %d in colours", name, len(plain), len(coloured))
		}
		for i, r := range coloured {
			if !bytes.Equal(r.Message, plain[i].Message) {
				t.Fatalf("%s: %q in colours is %q", name, plain[i].Message, r.Message)
			}
		}
	}
}
