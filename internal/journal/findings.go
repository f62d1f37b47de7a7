package journal

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"band/internal/doctor"
)

// past is for how long a finding stands of what happened and is over.
const past = 24 * time.Hour

// suppression chooses the entries in which journald tells that it dropped
// messages of a unit that wrote too many (SD_MESSAGE_JOURNAL_DROPPED in
// sd-messages.h). A service cannot write them: journald alone has that transport.
var suppression = []string{"MESSAGE_ID=" + suppressionID, "_TRANSPORT=driver"}

const suppressionID = "a596d6fe7bfa4994828e72309e95d61e"

func isSuppression(e Entry) bool {
	return e.Get("_TRANSPORT") == "driver" && e.Get("MESSAGE_ID") == suppressionID
}

// suppressed says that messages were dropped, where they may have been ours.
func (r *reading) suppressed(e Entry) {
	unit := e.Get("OBJECT_SYSTEMD_UNIT")
	if unit == "" { // "Suppressed 2 messages from freeswitch.service"
		unit = string(e.Message[strings.LastIndexByte(string(e.Message), ' ')+1:])
	}
	left := past - time.Since(e.Time)
	if left <= 0 || !wants(r.config.Matches, unit) {
		return
	}
	r.config.Board.Raise(doctor.Finding{
		Kind: doctor.JournalSuppressed, Severity: doctor.Error, Source: Source + ": " + unit, For: left,
		Text: fmt.Sprintf("journald dropped %s messages of %s, failures perhaps: an attacker who makes it write much hides so, and can forge lines where others were dropped",
			e.Get("N_DROPPED"), unit),
		Remedy: fmt.Sprintf("systemctl edit %s, write LogRateLimitIntervalSec=0 below [Service], and restart it", unit),
	})
}

// wants reports whether entries of a unit may be among those that one of matches
// chooses.
func wants(matches []Match, unit string) bool {
	for _, m := range matches {
		if len(m.alternatives) == 0 {
			return true
		}
		for _, a := range m.alternatives {
			if a.allows("_SYSTEMD_UNIT", unit) {
				return true
			}
		}
	}
	return false
}

// cut says that a line was cut.
func (r *reading) cut(e Entry) {
	left := past - time.Since(e.Time)
	if left <= 0 {
		return
	}
	r.config.Board.Raise(doctor.Finding{
		Kind: doctor.JournalCut, Severity: doctor.Warning, Source: Source, For: left,
		Text:   "journald cut lines that are longer than its LineMax; they were joined, but one that ends just where it was cut hides the line behind it",
		Remedy: "write LineMax=16M below [Journal] in a drop-in of journald.conf, and restart systemd-journald",
	})
}

func (r *reading) gap(why string) {
	r.config.Board.Raise(doctor.Finding{
		Kind: doctor.JournalGap, Severity: doctor.Warning, Source: Source, For: past,
		Text:   why,
		Remedy: "nothing if the journal was deleted or is kept in memory and the host was started; otherwise give journald more room (SystemMaxUse)",
	})
}

func (r *reading) missing() {
	r.working()
	r.state.Store(int32(Missing))
	r.config.Board.Raise(doctor.Finding{
		Kind: doctor.SourceMissing, Severity: doctor.Warning, Source: Source,
		Text:   "the journal is empty",
		Remedy: "start systemd-journald: the journal is read as soon as it has an entry; or name log files in the jails",
	})
}

func (r *reading) found() {
	r.state.CompareAndSwap(int32(Opening), int32(Open))
	r.state.CompareAndSwap(int32(Missing), int32(Open))
	r.config.Board.Clear(doctor.SourceMissing, "", Source)
}

func (r *reading) failing(err error) {
	r.state.Store(int32(Failing))
	remedy := "see that " + r.config.Command[0] + " can be run by band and reads the journal (journalctl --verify names damaged files); it is tried again until it works"
	if errors.Is(err, exec.ErrNotFound) {
		remedy = "install it (it is a part of systemd), or name log files in the jails in the place of the journal"
	}
	r.config.Board.Raise(doctor.Finding{
		Kind: doctor.JournalFailing, Severity: doctor.Error, Source: Source,
		Text:   fmt.Sprintf("the journal cannot be read: %v", err),
		Remedy: remedy,
	})
}

func (r *reading) recovered() {
	r.state.Store(int32(Open))
	r.config.Board.Clear(doctor.JournalFailing, "", Source)
}
