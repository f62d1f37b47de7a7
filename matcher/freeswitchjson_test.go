package matcher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"band/matcher"
)

// object is a record as mod_console of FreeSWITCH 1.10.12 writes it.
const object = `{"host":"pbx","timestamp":1795247508117416,"level":4,"ident":"freeswitch","pid":811,"file":"sofia_reg.c","line":1787,"function":"sofia_reg_handle_register_token","sequence":12,` +
	`"message":"SIP auth failure (REGISTER) on sofia profile 'internal' for [1000@pbx] from ip 198.51.100.70\n"}`

func TestFreeSWITCHJSON(t *testing.T) {
	edit := func(old, new string) string {
		if !strings.Contains(object, old) {
			t.Fatalf("the object holds no %s", old)
		}
		return strings.Replace(object, old, new, 1)
	}
	const stamped = "2026-11-21T07:51:48.117416Z"
	tests := []struct{ name, line, message, time string }{ // message "-": not seen
		{"a failure", object, fail, stamped},
		{"1.10.0, without a sequence", edit(`"sequence":12,`, ""), fail, stamped},
		{"a level of its own", edit(`"level":4`, `"level":6`), strings.Replace(fail, "WARNING", "INFO", 1), stamped},
		{"a level of debugging", edit(`"level":4`, `"level":12`), strings.Replace(fail, "WARNING", "DEBUG", 1), stamped},
		{"without a level", edit(`"level":4,`, ""), fail, stamped},
		{"a time that cJSON writes short", edit("1795247508117416", "1.79524750811741e+15"), fail, "2026-11-21T07:51:48.11741Z"},
		{"a time in seconds", edit("1795247508117416", "1795247508.117416"), fail, stamped},
		{"a time in milliseconds", edit("1795247508117416", "1795247508117.416"), fail, stamped},
		{"without a time", edit(`"timestamp":1795247508117416,`, ""), fail, ""},
		{"several lines", edit(`for [1000`, `for [\u001b10\n \"00`), strings.Replace(fail, "for [1000", "for [\x1b10\n \"00", 1), stamped},
		{"a name that is not UTF-8", edit(`for [1000`, "for [\xff"), strings.Replace(fail, "for [1000", "for [\uFFFD", 1), stamped},
		{"fields that modules add", "{\"a\":{\"file\":\"x\"},\"b\":[1]," + object[1:], fail, stamped},
		{"spaces", " " + edit(`"line":1787,`, `"line" : 1787 , `) + " ", fail, stamped},
		{"a session's record", edit(`"file"`, `"session":"9e63daf3-4092-ae72-581d-afa700a15c96","file"`), "-", stamped},
		{"a field twice, as LOG_FIELDS in a message adds it", edit(`"message"`, `"file":"x.c","message"`), "-", ""},
		{"another message", edit(`"message"`, `"message":"x","message"`), "-", ""},
		{"no file", edit(`"file":"sofia_reg.c",`, ""), "-", ""},
		{"no line", edit(`"line":1787,`, ""), "-", ""},
		{"no message", `{"file":"sofia_reg.c","line":1787}`, "-", ""},
		{"a file that is more", edit(`"sofia_reg.c"`, `"sofia_reg.c:1 x"`), "-", ""},
		{"a line that is text", edit("1787", `"1787"`), "-", ""},
		{"a line that is none", edit("1787", "-1"), "-", ""},
		{"a level that is text", edit(`"level":4`, `"level":"4"`), "-", ""},
		{"a level that is none", edit(`"level":4`, `"level":-1`), "-", ""},
		{"a time that is none", edit("1795247508117416", "1e300"), "-", ""},
		{"a time of zero", edit("1795247508117416", "0"), "-", ""},
		{"a message that is a number", `{"file":"sofia_reg.c","line":1787,"message":1}`, "-", ""},
		{"two objects", object + object, "-", ""},
		{"half of one", object[:len(object)-20], "-", ""},
		{"something before it", "x" + object, "-", ""},
		{"a list", "[" + object + "]", "-", ""},
		{"text", stamp + fail, "-", ""},
		{"nothing", "", "-", ""},
	}
	f := named(t, "freeswitch-json", "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			records := frame(f, []byte(tt.line+"\n"))
			if got := messages(records); !slices.Equal(got, []string{tt.message}) {
				t.Fatalf("messages %q, want %q", got, tt.message)
			}
			at, ok := matcher.NewClock(f, time.Local).Time(records[0].Stamp)
			if got := at.UTC().Format(time.RFC3339Nano); ok != (tt.time != "") || ok && got != tt.time {
				t.Errorf("time %s, %v; want %q", got, ok, tt.time)
			}
		})
	}
}

// An object that a caller writes at the start of a line of a log of text is a part
// of the record before it.
func TestNoJSONInText(t *testing.T) {
	records := frame(named(t, "freeswitch", ""), []byte(object+"\n"+stamp+fail+"\n"+object+"\n"))
	if got, want := messages(records), []string{"-", fail + "\n" + object}; !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
}

func FuzzFreeSWITCHJSON(f *testing.F) {
	json, text := named(f, "freeswitch-json", ""), named(f, "freeswitch", "")
	f.Fuzz(func(t *testing.T, line []byte) {
		r := matcher.FromJournal(json, matcher.Entry{Message: line})
		if r.Message == nil {
			return
		}
		// It looks as it would as text, so that the same patterns fit.
		again := matcher.FromJournal(text, matcher.Entry{Message: slices.Concat([]byte(stamp), r.Message, []byte("."))})
		if string(again.Message) != string(r.Message)+"." {
			t.Errorf("message %q is %q as text", r.Message, again.Message)
		}
	})
}
