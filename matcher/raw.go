package matcher

import "bytes"

// raw is the format of logs that no other format is made for: every line is a
// record. Where a jail tells the layout of the time that a line begins with, the
// message is what stands behind it, and a line without it is not seen. Else the
// message is the whole line, and tells no time.
type raw struct {
	lines
	layout layout // nil: none
}

func (raw) start([]byte) (header, bool) { return header{}, true }

func (f raw) finish(r Record) Record {
	if f.layout == nil {
		return r
	}
	length := f.layout.read(r.Text, new(reading))
	if length == 0 {
		r.Message = nil
		return r
	}
	r.Stamp, r.Message = r.Text[:length], bytes.TrimLeft(r.Text[length:], " \t")
	return r
}

// entry needs no time before the message: the journal tells it, and where the
// record begins.
func (f raw) entry(e Entry) Record {
	r := f.finish(Record{Text: e.Message})
	if r.Message == nil {
		r.Message = e.Message
	}
	return r
}
