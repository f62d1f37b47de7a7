package matcher

import (
	"bytes"
	"time"
)

// A Clock turns the stamps of one source into times: those of RFC 3339, of RFC
// 3164, and what is between, in any mixture. What a stamp leaves open, its zone
// and its year, is told by those before it. A Clock is not safe for concurrent
// use: it remembers the record before.
type Clock struct {
	location *time.Location
	layout   layout    // of the stamps; nil: that of all but "raw"
	room     []byte    // for one that is written anew
	today    time.Time // the log is read then
	last     time.Time
	near     time.Time // zero: not known
	shift    time.Duration
	text     []byte    // of the last minute without a zone
	minute   minute    // that it is
	base     time.Time // at which it began
	twice    bool      // it stands for two times
}

// Near tells that the next stamp was written at about t: where it may stand for
// two times, the one that is nearer to t is taken. It says more than Today.
func (c *Clock) Near(t time.Time) { c.near = t }

// Today tells that the log is read at t: it was written before. A Clock that is
// not told takes the time of its making.
func (c *Clock) Today(t time.Time) { c.today = t }

// Shift adds d to all further times without a zone: the source writes that much
// behind.
func (c *Clock) Shift(d time.Duration) { c.shift, c.last = d, time.Time{} }

// NewClock returns a Clock for a source of that format, nil for any but "raw", which
// writes local time of location where it does not tell the zone.
func NewClock(f Format, location *time.Location) *Clock {
	c := &Clock{location: location, today: time.Now()}
	if raw, ok := f.(raw); ok {
		c.layout = raw.layout
	}
	return c
}

// Disorder is how far a record may be before the one that was written before
// it: the threads of a program take their stamps and write in turn.
const Disorder = 100 * time.Millisecond

// ahead is how far a stamp without a year may be ahead of the clock by which it
// is read: by its zone, and because clocks go wrong. One that is further ahead is
// of a year before.
const ahead = 24 * time.Hour

// Time returns the time of a stamp, and false where it is none.
//
// In the hour that the end of daylight saving repeats it takes the first of the
// two times that is not before the record before, unless [Clock.Near] says more.
// Where a stamp tells no year, it takes the one that is nearest to the record
// before, and for the first record, or after Near, the newest; but never one that
// is more than a day ahead of what Near or [Clock.Today] told.
func (c *Clock) Time(stamp []byte) (time.Time, bool) {
	if c.layout != nil {
		var r reading
		if c.layout.read(stamp, &r) == 0 {
			return time.Time{}, false
		}
		c.room = r.appendStamp(c.room[:0])
		stamp = c.room
	}
	return c.time(stamp)
}

// Resume tells of when the last record is that was read before: in an hour that is
// repeated, what is before it is of the second one.
func (c *Clock) Resume(last time.Time) {
	c.near = last
	c.room = last.Add(-c.shift).In(c.location).AppendFormat(c.room[:0], "2006-01-02 15:04:05.000000")
	c.time(c.room)
	c.near = time.Time{}
}

// time is Time of a stamp that needs no layout.
func (c *Clock) time(stamp []byte) (time.Time, bool) {
	m, at, same := c.minute, len(c.text), len(c.text) > 0 && bytes.HasPrefix(stamp, c.text)
	if !same {
		m, at = readMinute(stamp)
	}
	past, length := readSeconds(stamp[at:])
	if at == 0 || length == 0 {
		return time.Time{}, false
	}
	if zone := stamp[at+length:]; len(zone) > 0 {
		east, length := readZone(zone)
		wall, ok := c.wall(m)
		if !ok || length < len(zone) {
			return time.Time{}, false
		}
		c.last = wall.Add(past - east)
		return c.last, true
	}
	if !same || c.twice && !c.near.IsZero() || m.year < 0 && c.stale() {
		wall, ok := c.wall(m)
		if !ok { // the 31st of a short month
			return time.Time{}, false
		}
		c.text, c.minute, c.base = append(c.text[:0], stamp[:at]...), m, c.resolve(wall, past)
	}
	c.last = c.base.Add(past)
	return c.last.Add(c.shift), true
}

// stale reports whether the minute, which tells no year, is so long ago that it
// is that of another year now.
func (c *Clock) stale() bool {
	const month = 30 * 24 * time.Hour
	return !c.near.IsZero() && c.near.Sub(c.base).Abs() > month
}

// wall returns the minute, in the year that it is of, as if it were UTC, and false
// where there is none.
func (c *Clock) wall(m minute) (time.Time, bool) {
	if m.year >= 0 {
		return m.on(m.year)
	}
	latest := c.today
	if !c.near.IsZero() {
		latest = c.near
	}
	latest = latest.Add(ahead - c.shift)
	var best time.Time
	const span = 100 // years; more than lie between any two leap days
	for year := latest.Year() + 1; year > latest.Year()-span; year-- {
		wall, ok := m.on(year)
		switch {
		case !ok || c.local(wall).After(latest):
		case c.last.IsZero() || !c.near.IsZero():
			return wall, true
		case !best.IsZero() && c.distance(wall) >= c.distance(best):
			return best, true
		default:
			best = wall
		}
	}
	return best, !best.IsZero()
}

// distance is how far a minute on the wall is from the record before.
func (c *Clock) distance(wall time.Time) time.Duration { return c.local(wall).Sub(c.last).Abs() }

// local returns about when a clock on the wall showed a time: in an hour that is
// repeated or skipped either will do.
func (c *Clock) local(wall time.Time) time.Time {
	return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, c.location)
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
