package jails_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"band/jails"
)

func TestParseEntry(t *testing.T) {
	prefix := func(s string) jails.Entry { return jails.Entry{Prefix: netip.MustParsePrefix(s)} }
	name := func(s string) jails.Entry { return jails.Entry{Name: s} }
	file := func(s string) jails.Entry { return jails.Entry{File: s} }
	label := strings.Repeat("a", 63)
	longest := label + "." + label + "." + label + "." + strings.Repeat("a", 61)
	const (
		neither   = " is no address, prefix, host name or absolute path of a file"
		hostBits  = " has host bits set; write "
		everybody = " would exempt everybody"
	)
	tests := []struct {
		text   string
		want   jails.Entry
		string string // how it is written; "" for as in text
		err    string // behind the quoted text
	}{
		{"192.0.2.7", prefix("192.0.2.7/32"), "", ""},
		{"192.0.2.7/32", prefix("192.0.2.7/32"), "192.0.2.7", ""},
		{"198.51.100.0/24", prefix("198.51.100.0/24"), "", ""},
		{"::1", prefix("::1/128"), "", ""},
		{"2001:DB8:0::/32", prefix("2001:db8::/32"), "2001:db8::/32", ""},
		{"::ffff:192.0.2.8", prefix("192.0.2.8/32"), "192.0.2.8", ""},
		{"::ffff:203.0.113.0/120", prefix("203.0.113.0/24"), "203.0.113.0/24", ""},
		{"0.0.0.0/1", prefix("0.0.0.0/1"), "", ""},

		{"pbx.example.com", name("pbx.example.com"), "", ""},
		{"UPPER.Example.", name("upper.example"), "upper.example", ""},
		{"example", name("example"), "", ""},
		{"_sip-trunk.3com.example", name("_sip-trunk.3com.example"), "", ""},
		{"7.2.0.192.in-addr.arpa", name("7.2.0.192.in-addr.arpa"), "", ""},
		{"xn--bcher-kva.example", name("xn--bcher-kva.example"), "", ""},
		{label + ".example", name(label + ".example"), "", ""},
		{longest, name(longest), "", ""},
		{longest + ".", name(longest), longest, ""},

		{"/etc/band/office.txt", file("/etc/band/office.txt"), "", ""},
		{"/etc//band/../office.txt/", file("/etc/office.txt"), "/etc/office.txt", ""},
		{"/" + strings.Repeat("a", 300), file("/" + strings.Repeat("a", 300)), "", ""},

		{"192.0.2", jails.Entry{}, "", neither},
		{"192.0.2.300", jails.Entry{}, "", neither},
		{"192.0.2.07", jails.Entry{}, "", neither},
		{"192.0.2.7.", jails.Entry{}, "", neither},
		{"192.0.2.7a", jails.Entry{}, "", neither},
		{"192.0.2.7-9", jails.Entry{}, "", neither},
		{"192.0.2.*", jails.Entry{}, "", neither},
		{"192.0.2.7:5060", jails.Entry{}, "", neither},
		{"192.0.2.7 ", jails.Entry{}, "", neither},
		{"192.0.2.7, 192.0.2.8", jails.Entry{}, "", neither},
		{"0x7f000001", jails.Entry{}, "", neither},
		{"127.0x1", jails.Entry{}, "", neither},
		{"3221225991", jails.Entry{}, "", neither},
		{"192.0.2.0/33", jails.Entry{}, "", neither},
		{"192.0.2.0/255.255.255.0", jails.Entry{}, "", neither},
		{"192.0.2.0/", jails.Entry{}, "", neither},
		{"192.0.2/24", jails.Entry{}, "", neither},
		{"::1/129", jails.Entry{}, "", neither},
		{"[::1]", jails.Entry{}, "", neither},
		{"2001:db8", jails.Entry{}, "", neither},
		{"fe80::1%eth0", jails.Entry{}, "", neither},
		{"fe80::%eth0/64", jails.Entry{}, "", neither},
		{"192.0.2.7/24", jails.Entry{}, "", hostBits + `"192.0.2.0/24"`},
		{"2001:db8::1/32", jails.Entry{}, "", hostBits + `"2001:db8::/32"`},
		{"::ffff:198.51.100.9/120", jails.Entry{}, "", hostBits + `"198.51.100.0/24"`},
		{"0.0.0.0/0", jails.Entry{}, "", everybody},
		{"192.0.2.7/0", jails.Entry{}, "", everybody},
		{"::/0", jails.Entry{}, "", everybody},
		{"::ffff:0.0.0.0/96", jails.Entry{}, "", everybody},

		{"", jails.Entry{}, "", neither},
		{".", jails.Entry{}, "", neither},
		{"a..b", jails.Entry{}, "", neither},
		{"example..", jails.Entry{}, "", neither},
		{".example", jails.Entry{}, "", neither},
		{"-x.com", jails.Entry{}, "", neither},
		{"x-.com", jails.Entry{}, "", neither},
		{"example.-x", jails.Entry{}, "", neither},
		{"example.x-", jails.Entry{}, "", neither},
		{"*.example.com", jails.Entry{}, "", neither},
		{"sip:pbx.example.com", jails.Entry{}, "", neither},
		{"pbx.example.com:5060", jails.Entry{}, "", neither},
		{"pbx example.com", jails.Entry{}, "", neither},
		{"pbx.example.com\n", jails.Entry{}, "", neither},
		{"b\u00fccher.example", jails.Entry{}, "", neither},
		{"\u212aelvin.example", jails.Entry{}, "", neither}, // a letter that is lowered to an ASCII k
		{label + "a.example", jails.Entry{}, "", neither},
		{longest + "a", jails.Entry{}, "", neither},
		{strings.Repeat("a", 300), jails.Entry{}, "", neither},
		{strings.Repeat("a.", 150) + "example", jails.Entry{}, "", neither},

		{"etc/band/office.txt", jails.Entry{}, "", neither},
		{"./office.txt", jails.Entry{}, "", neither},
		{"~/office.txt", jails.Entry{}, "", neither},
		{"file:///etc/office.txt", jails.Entry{}, "", neither},
		{"/etc/\x1b[2J", jails.Entry{}, "", " holds a character that cannot be printed"},
		{"/etc/\x00", jails.Entry{}, "", " holds a character that cannot be printed"},
	}
	for _, tt := range tests {
		got, err := jails.ParseEntry(tt.text)
		if tt.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), `"`) || !strings.HasSuffix(err.Error(), `"`+tt.err) {
				t.Errorf("%q: want an error that ends in %q, got %#v, %v", tt.text, tt.err, got, err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: want %#v, got %#v, %v", tt.text, tt.want, got, err)
		}
		want := tt.string
		if want == "" {
			want = tt.text
		}
		if got.String() != want {
			t.Errorf("%q: is written %q", tt.text, got)
		}
	}
}

// Whatever is read is one of the three, and reads the same when it is written.
func FuzzParseEntry(f *testing.F) {
	for _, seed := range []string{"192.0.2.7", "::ffff:203.0.113.0/120", "UPPER.Example.", "/etc/band/x", "fe80::1%eth0", "a..b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := jails.ParseEntry(text)
		if err != nil {
			return
		}
		kinds := 0
		if e.Prefix.IsValid() {
			kinds++
			if e.Prefix != e.Prefix.Masked() || e.Prefix.Bits() == 0 || e.Prefix.Addr().Is4In6() && e.Prefix.Bits() >= 96 {
				t.Errorf("%q: prefix %v", text, e.Prefix)
			}
		}
		if e.Name != "" {
			kinds++
			if len(e.Name) > 253 || strings.HasSuffix(e.Name, ".") || e.Name != strings.ToLower(e.Name) {
				t.Errorf("%q: name %q", text, e.Name)
			}
			if _, err := netip.ParseAddr(e.Name); err == nil {
				t.Errorf("%q: name %q is an address", text, e.Name)
			}
		}
		if e.File != "" {
			kinds++
			if !strings.HasPrefix(e.File, "/") {
				t.Errorf("%q: file %q", text, e.File)
			}
		}
		if kinds != 1 {
			t.Errorf("%q: %#v is not one of the three", text, e)
		}
		if again, err := jails.ParseEntry(e.String()); err != nil || again != e {
			t.Errorf("%q: %#v is written %q, which is %#v, %v", text, e, e, again, err)
		}
	})
}

func TestAllow(t *testing.T) {
	cfg := config(map[string]string{"band.toml": "allow = [\n'trunk.Example.com.', '::ffff:192.0.2.8',\n\n'/etc/band/office.txt', '',\n'office.txt/x', 7]\n"})
	want := []jails.Entry{
		{Name: "trunk.example.com"}, {Prefix: netip.MustParsePrefix("192.0.2.8/32")}, {File: "/etc/band/office.txt"},
	}
	if diff := cmp.Diff(want, cfg.Allow, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	problems := []string{
		"band.toml:4: allow: must not be empty",
		`band.toml:5: allow: "office.txt/x" is no address, prefix, host name or absolute path of a file`,
		`band.toml:5: allow: must be a string such as "192.0.2.7", not a number`,
	}
	if diff := cmp.Diff(problems, said(cfg)); diff != "" {
		t.Errorf("problems: -want +got:\n%s", diff)
	}
}

func TestFreeSWITCH(t *testing.T) {
	for value, want := range map[string]struct{ dir, problem string }{
		`"/usr/local/freeswitch/conf/"`: {"/usr/local/freeswitch/conf", ""},
		`""`:                            {"", ""},
		`"conf"`:                        {"", `band.toml:1: freeswitch: "conf" must be an absolute path`},
		`"/conf\u0007"`:                 {"", `band.toml:1: freeswitch: "/conf\a" holds a character that cannot be printed`},
		`["/conf"]`:                     {"", "band.toml:1: freeswitch: must be a string, not a list"},
	} {
		cfg := config(map[string]string{"band.toml": "freeswitch = " + value + "\n"})
		var problems []string
		if want.problem != "" {
			problems = []string{want.problem}
		}
		if diff := cmp.Diff(problems, said(cfg)); diff != "" || cfg.FreeSWITCH != want.dir {
			t.Errorf("%s: taken for %q; problems: -want +got:\n%s", value, cfg.FreeSWITCH, diff)
		}
	}
}
