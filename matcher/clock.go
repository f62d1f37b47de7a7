package matcher

import "time"

// A Clock turns the stamps of one source, which carry no zone, into times. It
// is not safe for concurrent use: it remembers the record before.
type Clock struct {
	location *time.Location
	last     time.Time
	near     time.Time // zero: not known
	shift    time.Duration
	minute   [len("0000-00-00 00:00")]byte
	base     time.Time // of minute
	twice    bool      // minute stands for two times
}

// Near tells that the next stamp was written at about t: where it may stand for
// two times, the one that is nearer to t is taken.
func (c *Clock) Near(t time.Time) { c.near = t }

// Shift adds d to all further times: the source writes that much behind.
func (c *Clock) Shift(d time.Duration) { c.shift, c.last = d, time.Time{} }

// NewClock returns a Clock for a source that writes local time of location.
func NewClock(location *time.Location) *Clock {
	return &Clock{location: location}
}

// Disorder is how far a record may be before the one that was written before
// it: the threads of a program take their stamps and write in turn.
const Disorder = 100 * time.Millisecond

// Time returns the time of a stamp, and false where it is none. In the hour
// that the end of daylight saving repeats it takes the first of the two times
// that is not before the record before, unless [Clock.Near] says more.
func (c *Clock) Time(stamp []byte) (time.Time, bool) {
	if !shaped(stamp, freeswitchStamp) {
		return time.Time{}, false
	}
	digits := func(from, to int) (n int) {
		for _, d := range stamp[from:to] {
			n = n*10 + int(d-'0')
		}
		return n
	}
	past := time.Duration(digits(17, 19))*time.Second + time.Duration(digits(20, 26))*time.Microsecond
	if minute := [len(c.minute)]byte(stamp); c.base.IsZero() || minute != c.minute || c.twice && !c.near.IsZero() {
		wall, err := time.Parse("2006-01-02 15:04", string(minute[:]))
		if err != nil { // the 31st of a short month
			return time.Time{}, false
		}
		c.minute, c.base = minute, c.resolve(wall, past)
	}
	c.last = c.base.Add(past)
	return c.last.Add(c.shift), true
}

// resolve returns the instant at which a clock on the wall showed that minute;
// past is how much of it had passed.
func (c *Clock) resolve(wall time.Time, past time.Duration) time.Time {
	instant := func(near time.Time) (time.Time, bool) {
		_, offset := near.In(c.location).Zone()
		t := wall.Add(-time.Duration(offset) * time.Second)
		_, own := t.In(c.location).Zone()
		return t, own == offset
	}
	early, earlyOK := instant(wall.Add(-24 * time.Hour))
	late, lateOK := instant(wall.Add(24 * time.Hour))
	if early.After(late) {
		early, late, earlyOK, lateOK = late, early, lateOK, earlyOK
	}
	c.twice = earlyOK && lateOK && !early.Equal(late)
	if c.twice && !c.near.IsZero() {
		if c.near.Sub(early.Add(past+c.shift)).Abs() <= c.near.Sub(late.Add(past+c.shift)).Abs() {
			return early
		}
		return late
	}
	if lateOK && (!earlyOK || early.Add(past).Before(c.last.Add(-Disorder))) {
		return late
	}
	return early
}
