package journal

import "time"

// Hurry makes a Journal find out soon that its child is deaf.
func (j *Journal) Hurry() {
	j.pace = pace{check: 200 * time.Millisecond, hurry: 100 * time.Millisecond, deaf: 2 * time.Second, tell: 100 * time.Millisecond}
}
