package doctor_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"band/internal/doctor"
)

// Kinds lists every constant that there is.
func TestKinds(t *testing.T) {
	constants, _ := constants(t)
	var listed []string
	for _, kind := range doctor.Kinds() {
		listed = append(listed, string(kind))
	}
	slices.Sort(listed)
	if diff := cmp.Diff(slices.Sorted(maps.Values(constants)), listed); diff != "" {
		t.Errorf("-there are +listed:\n%s", diff)
	}
}
