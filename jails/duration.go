package jails

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// units of a duration, in the order in which they may be written.
var units = [...]struct {
	letter string
	span   time.Duration
}{{"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

var durationForm = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$`)

var errTooLong = errors.New("too long")

// asDuration takes a TOML value for a span of time between lo and hi. A bare
// integer is seconds, as in fail2ban. Where forever is allowed, it is 0.
func asDuration(lo, hi time.Duration, forever bool) func(any) (time.Duration, error) {
	forms := `a number of seconds such as 600, or "90s", "10m", "1h30m", "1d12h", "2w"`
	bounds := "at least " + span(lo)
	if hi < math.MaxInt64 {
		bounds = fmt.Sprintf("%s to %s", span(lo), span(hi))
	}
	if forever {
		forms += `, "forever"`
		bounds += `, or "forever"`
	}
	return func(v any) (d time.Duration, err error) {
		switch v := v.(type) {
		case string:
			if forever && v == "forever" {
				return 0, nil
			}
			d, err = parseDuration(v)
		case int64:
			if forever && v == -1 { // fail2ban's word for it
				return 0, nil
			}
			d, err = multiply(v, time.Second)
		default:
			return 0, wrongType(forms, v)
		}
		switch {
		case errors.Is(err, errTooLong) || err == nil && (d < lo || d > hi):
			return 0, fmt.Errorf("%v is out of range: %s", v, bounds)
		case err != nil:
			return 0, fmt.Errorf("%q is not a duration; write %s", v, forms)
		}
		return d, nil
	}
}

func parseDuration(s string) (time.Duration, error) {
	parts := durationForm.FindStringSubmatch(s)
	if parts == nil || s == "" {
		return 0, errors.New("not a duration")
	}
	var sum time.Duration
	for i, digits := range parts[1:] {
		if digits == "" {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil { // digits are digits: it can only be too many of them
			return 0, errTooLong
		}
		d, err := multiply(n, units[i].span)
		if err != nil || d > math.MaxInt64-sum {
			return 0, errTooLong
		}
		sum += d
	}
	return sum, nil
}

func multiply(n int64, unit time.Duration) (time.Duration, error) {
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, errTooLong
	}
	return time.Duration(n) * unit, nil
}

// span writes a bound as an operator would.
func span(d time.Duration) string {
	if d >= day {
		return fmt.Sprintf("%dd", d/day)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// FormatDuration writes a duration of whole seconds as it may stand in a jail
// file, such as "1d12h"; 0 is "forever".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "forever"
	}
	var b strings.Builder
	for _, u := range units {
		if n := d / u.span; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.letter)
			d -= n * u.span
		}
	}
	return b.String()
}

// ParseBanTime takes a bantime as it is written in a jail file, "90s", "10m",
// "1h30m", "1d12h", "2w" or "forever", which is 0; a bare number is seconds.
// Its error says what is wrong and lists them.
func ParseBanTime(text string) (time.Duration, error) {
	parse := asDuration(time.Second, math.MaxInt64, true)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return parse(seconds)
	}
	return parse(text)
}
