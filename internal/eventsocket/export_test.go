package eventsocket

import (
	"errors"
	"io"

	"band/matcher"
)

// ReadAll returns the events of a stream, how many messages it has, and the error
// behind them, nil at its end.
func ReadAll(r io.Reader) (events []matcher.Event, messages int, err error) {
	reader := newReader(r)
	for {
		if _, err := reader.in.Peek(1); errors.Is(err, io.EOF) {
			return events, messages, nil
		}
		m, err := reader.next()
		if err != nil {
			return events, messages, err
		}
		messages++
		if m.kind == plainEvent {
			events = append(events, m.event)
		}
	}
}
