package matcher

import (
	"strings"
	"time"
)

// A stamp is the time of RFC 3339, `2026-11-21T07:51:48.117+01:00`, or of RFC 3164,
// `Nov 21 07:51:48`; either with a space in place of the T, with a fraction or
// without, with a zone or without.

// stampLength returns the length of the stamp that text begins with, 0 where it
// begins with none.
func stampLength(text []byte) int {
	_, minute := readMinute(text)
	if minute == 0 {
		return 0
	}
	_, seconds := readSeconds(text[minute:])
	if seconds == 0 {
		return 0
	}
	_, zone := readZone(text[minute+seconds:])
	return minute + seconds + zone
}

// minute is one on the wall; year is -1 where the stamp tells none.
type minute struct{ year, month, day, hour, minute int }

// on returns the minute in a year in which it may be, as if the wall were in UTC,
// and false where that has no such day.
func (m minute) on(year int) (time.Time, bool) {
	t := time.Date(year, time.Month(m.month), m.day, m.hour, m.minute, 0, 0, time.UTC)
	return t, t.Day() == m.day
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// readMinute reads the minute that a stamp begins with, and says how long it is: 0
// where there is none.
func readMinute(text []byte) (m minute, length int) {
	switch {
	case shaped(text, "0000-00-00 00:00"), shaped(text, "0000-00-00T00:00"):
		m.year, m.month, m.day = number(text[:4]), number(text[5:7]), number(text[8:10])
		length = len("2026-11-21 07:51")
	case shaped(text, "Aaa d0 00:00"):
		month := strings.Index(months, string(text[:3]))
		if month < 0 { // what begins with a capital is a whole one
			return minute{}, 0
		}
		m.year, m.month, m.day = -1, month/3+1, number(text[4:6])
		length = len("Nov 21 07:51")
	default:
		return minute{}, 0
	}
	m.hour, m.minute = number(text[length-5:length-3]), number(text[length-2:length])
	if m.month < 1 || m.month > 12 || m.day < 1 || m.day > 31 || m.hour > 23 || m.minute > 59 {
		return minute{}, 0
	}
	return m, length
}

// readSeconds reads the seconds behind a minute, `:48` with a fraction or without.
func readSeconds(text []byte) (past time.Duration, length int) {
	if !shaped(text, ":00") {
		return 0, 0
	}
	seconds := number(text[1:3])
	if seconds > 60 { // one may leap
		return 0, 0
	}
	past, length = time.Duration(seconds)*time.Second, len(":48")
	if shaped(text[length:], ".0") {
		length++
		for unit := time.Second / 10; length < len(text) && '0' <= text[length] && text[length] <= '9'; unit /= 10 { // 0 from the tenth digit on
			past += time.Duration(text[length]-'0') * unit
			length++
		}
	}
	return past, length
}

// readZone reads the zone behind a time, Z, `+01:00` or `+0100`.
func readZone(text []byte) (east time.Duration, length int) {
	var hours, minutes int
	switch {
	case shaped(text, "Z"):
		return 0, len("Z")
	case shaped(text, "+00:00"), shaped(text, "-00:00"):
		hours, minutes, length = number(text[1:3]), number(text[4:6]), len("+01:00")
	case shaped(text, "+0000"), shaped(text, "-0000"):
		hours, minutes, length = number(text[1:3]), number(text[3:5]), len("+0100")
	}
	if length == 0 || hours > 23 || minutes > 59 {
		return 0, 0
	}
	east = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if text[0] == '-' {
		east = -east
	}
	return east, length
}

// number reads a few digits; a space before them counts for nothing.
func number(digits []byte) (n int) {
	for _, d := range digits {
		if d != ' ' {
			n = n*10 + int(d-'0')
		}
	}
	return n
}
