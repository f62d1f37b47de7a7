package jails

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Source is where the records of a jail come from: one of File, Journal and
// EventSocket is set.
type Source struct {
	File    string   // an absolute path, or a glob in the syntax of path/filepath.Match
	Journal []string // match terms as journalctl(1) takes them, with "+" between alternatives

	EventSocket  netip.AddrPort // of FreeSWITCH
	PasswordFile string         // an absolute path, whose first line is the event socket's password; "": FreeSWITCH's configuration tells it

	// Preferred sources are trusted more than the jail's others: while one is
	// being written, failures of the others do not count.
	Preferred bool
	Optional  bool // that the file or the event socket does not exist is nothing to report
	Unsafe    bool // the operator vouches for entries of the journal that any local user could have written
}

// String returns the path, "journal: " and the terms, or "event socket " and the
// address.
func (s Source) String() string {
	if s.EventSocket.IsValid() {
		return "event socket " + s.EventSocket.String()
	}
	if len(s.Journal) > 0 {
		return "journal: " + strings.Join(s.Journal, " ")
	}
	return s.File
}

const (
	exampleFile    = `"/var/log/auth.log"`
	exampleJournal = `["SYSLOG_IDENTIFIER=sshd", "_UID=0"]`
	exampleSocket  = `"127.0.0.1:8021"`
)

// sources reads the [[source]] tables.
func (t *table) sources() {
	tables, ok := t.array("source")
	if !ok {
		return
	}
	sources := &setting[[]Source]{origin: t.origin("source")}
	for _, s := range tables {
		s.label = "source"
		s.only(SourceTable)
		if source, ok := s.source(); ok {
			sources.value = append(sources.value, source)
		}
	}
	t.layer.sources = sources
}

// source reads a [[source]] table; false where it was reported to be bad.
func (t *table) source() (Source, bool) {
	before := len(t.layer.problems)
	var s Source
	set(&s.Preferred, read(t, "preferred", asBool))
	set(&s.Optional, read(t, "optional", asBool))
	set(&s.Unsafe, read(t, "unsafe", asBool))
	set(&s.File, read(t, "file", asGlob))
	s.Journal = list(t, "journal", "a list of terms such as "+exampleJournal, asTerm)

	set(&s.EventSocket, read(t, "event_socket", asSocket))
	set(&s.PasswordFile, read(t, "password_file", orNone(asPath)))
	var kinds []string
	for _, kind := range []string{"file", "journal", "event_socket"} {
		if _, ok := t.values[kind]; ok {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		t.report(t.lines[t.path], t.key("file"), "is missing: a source needs a file such as %s, a journal such as %s, or an event_socket such as %s", exampleFile, exampleJournal, exampleSocket)
		return s, false
	}
	journal, socket := kinds[0] == "journal", kinds[0] == "event_socket"
	switch {
	case len(kinds) > 1:
		t.report(t.line(kinds[1]), t.key(kinds[1]), "a source has one of %s and %s; write a [[source]] for each", kinds[0], kinds[1])
	case journal && s.Optional:
		t.report(t.line("optional"), t.key("optional"), "is for a file or an event socket; the journal is always there")
	case !journal && s.Unsafe && socket:
		t.report(t.line("unsafe"), t.key("unsafe"), "is for a journal; FreeSWITCH alone writes events")
	case !journal && s.Unsafe:
		t.report(t.line("unsafe"), t.key("unsafe"), "is for a journal; who can write into a file, its permissions decide")
	case s.PasswordFile != "" && !socket:
		t.report(t.line("password_file"), t.key("password_file"), "is for an event_socket")
	case journal && len(t.layer.problems) == before:
		if err := checkTerms(s.Journal, s.Unsafe); err != nil {
			t.report(t.line("journal"), t.key("journal"), "%v", err)
		}
	}
	return s, len(t.layer.problems) == before
}

// asSocket takes the address of an event socket. A name is not looked up: what it
// stands for might change.
func asSocket(v any) (netip.AddrPort, error) {
	s, ok := v.(string)
	if !ok {
		return netip.AddrPort{}, wrongType("an address and a port such as "+exampleSocket, v)
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address and port; write one such as %s", s, exampleSocket)
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

// fieldForm is that of a field of the journal, as systemd checks it
// (journal_field_valid).
var fieldForm = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,63}$`)

// asTerm takes a match term of journalctl(1), or the "+" between alternatives.
func asTerm(v any) (string, error) {
	s, err := asText(v)
	if err != nil || s == "+" {
		return s, err
	}
	field, value, found := strings.Cut(s, "=")
	switch {
	case !found:
		return "", fmt.Errorf(`%q is no match term; write FIELD=VALUE such as "_UID=0", or "+" between alternatives`, s)
	case !fieldForm.MatchString(field):
		return "", fmt.Errorf("%q cannot be a field of the journal: up to 64 of A-Z, 0-9 and _, and the first no digit", field)
	case strings.HasPrefix(field, "__"):
		return "", fmt.Errorf("%q cannot be matched; journalctl only shows it", field)
	case value == "":
		return "", fmt.Errorf("%q has no value", s)
	}
	return s, nil
}

// writerFields tell who wrote an entry. systemd.journal-fields(7) trusts every
// field that begins with "_", because the journal itself adds it; but of those
// a user has _COMM, _EXE and _CMDLINE name what he likes, since he starts the
// program, and _TRANSPORT or _HOSTNAME are the same for everybody, but for the
// kernel's own.
var writerFields = []string{"_UID=", "_SYSTEMD_UNIT=", "_SYSTEMD_CGROUP=", "_TRANSPORT=kernel", "_TRANSPORT=audit"}

// checkTerms checks all terms of a journal together.
func checkTerms(terms []string, unsafe bool) error {
	if len(terms) == 0 {
		return errors.New("must not be empty; write terms such as " + exampleJournal)
	}
	tellsWriter := func(term string) bool {
		return slices.ContainsFunc(writerFields, func(field string) bool { return strings.HasPrefix(term, field) })
	}
	var alternative []string
	for _, term := range slices.Concat(terms, []string{"+"}) {
		switch {
		case term != "+":
			alternative = append(alternative, term)
			continue
		case len(alternative) == 0:
			return errors.New(`"+" must stand between two terms`)
		case !unsafe && !slices.ContainsFunc(alternative, tellsWriter):
			return fmt.Errorf(`any local user can write entries with %s, and so have others banned; `+
				`add a term that says who wrote them, "_UID=0" or "_SYSTEMD_UNIT=..." (or set unsafe = true if there are no such users)`,
				strings.Join(alternative, " "))
		}
		alternative = nil
	}
	return nil
}
