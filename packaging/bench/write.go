package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"
)

// atOnce is how many lines are written by one write(2).
const atOnce = 2000

// write appends the log to a file as if all of it happened now: each line has the
// time at which it is written, in UTC as the daemons are run.
func (s *script) write(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	defer f.Close()
	stamp := make([]byte, 0, len(stampLayout))
	for from := 0; from < len(s.stamps); from += atOnce {
		to := min(from+atOnce, len(s.stamps))
		stamp = time.Now().UTC().AppendFormat(stamp[:0], stampLayout)
		for _, at := range s.stamps[from:to] {
			if at >= 0 {
				copy(s.text[at:], stamp)
			}
		}
		if _, err := f.Write(s.text[s.lines[from]:s.lines[to]]); err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
	}
	return nil
}

// failuresOf returns a log in which each host fails so many times in a row, now.
func failuresOf(hosts []netip.Addr, times int) []byte {
	var text []byte
	stamp := time.Now().UTC().Format(stampLayout)
	for _, host := range hosts {
		for range times {
			text = fmt.Appendf(text, "%s 97.31%% %s\n", stamp, failure("REGISTER", "1000", "pbx.example.com", host))
		}
	}
	return text
}

// appendTo appends to a file with one write(2).
func appendTo(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
