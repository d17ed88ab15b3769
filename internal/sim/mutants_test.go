package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testdata/mutants has bugs as patches. The simulator is worth what it finds of them:
//
//	go test ./internal/sim -run TestMutants                       // each patch applies
//	go test ./internal/sim -run TestMutants -mutants 3            // three of the day are found
//	go test ./internal/sim -run TestMutants/token -mutants all    // all whose name has "token" are
var (
	hunted     = flag.String("mutants", "0", "how many of the mutants to look for: a number, or all")
	huntBudget = flag.Duration("mutant-budget", time.Minute, "the real time to find one")
	huntDay    = flag.Int("mutant-day", int(time.Now().Unix()/(24*60*60)), "which ones: day by day all of them have their turn")
	huntSpared = flag.String("mutant-without", "", "parts of the simulator that do not look for mutants; by default those that are slow or cannot meet the bug")
)

func TestMutants(t *testing.T) {
	mutants, err := filepath.Glob("testdata/mutants/*.patch")
	require.NoError(t, err)
	require.NotEmpty(t, mutants)
	sample := sampleOf(t, mutants)
	if len(sample) > 0 {
		t.Run("none", func(t *testing.T) { // a finding means nothing if this fails
			found, how := hunt(t, buildMutant(t, nil), spared(nil), min(*huntBudget, time.Minute))
			require.False(t, found, how)
		})
	}
	for _, patch := range mutants {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			m := mutate(t, patch)
			if !slices.Contains(sample, patch) {
				return
			}
			if p := m.missingPart(); p != "" {
				t.Skip("the simulator has no part for package " + p)
			}
			sim := buildMutant(t, m)
			begin := time.Now()
			found, how := hunt(t, sim, spared(m), *huntBudget)
			require.True(t, found, "not found in %s", *huntBudget)
			t.Logf("%s: %s", time.Since(begin).Round(time.Second), how)
		})
	}
}

// sampleOf returns the mutants to look for: those that follow the ones of the day before.
func sampleOf(t *testing.T, mutants []string) []string {
	if *hunted == "all" {
		return mutants
	}
	n, err := strconv.Atoi(*hunted)
	require.NoError(t, err)
	first := *huntDay * n % len(mutants)
	return slices.Concat(mutants[first:], mutants[:first])[:min(n, len(mutants))]
}

// mutant is a module with a bug: the files that differ are in the place of others.
type mutant struct {
	overlay  string // a file for the flag of the same name
	packages []string
}

var patchedFile = regexp.MustCompile(`(?m)^\+\+\+ b/(.*\.go)$`)

// mutate applies a patch to copies of the files that it names.
func mutate(t *testing.T, patch string) *mutant {
	text, err := os.ReadFile(patch)
	require.NoError(t, err)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	path, err := filepath.Abs(patch)
	require.NoError(t, err)
	dir := t.TempDir()
	m := &mutant{overlay: filepath.Join(dir, "overlay.json")}
	replaced := make(map[string]string)
	for _, found := range patchedFile.FindAllStringSubmatch(string(text), -1) {
		file := found[1]
		replaced[filepath.Join(root, file)] = filepath.Join(dir, file)
		m.packages = append(m.packages, "./"+filepath.ToSlash(filepath.Dir(file)))
		source, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), source, 0o644))
	}
	require.NotEmpty(t, replaced, "the patch names no file")
	apply := exec.Command("git", "apply", path)
	apply.Dir = dir
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	runTool(t, apply)
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(m.overlay, overlay, 0o644))
	return m
}

// of returns the package that a mutant is in, if it is in one.
func (m *mutant) of() string {
	if m == nil {
		return ""
	}
	if of := slices.Compact(slices.Sorted(slices.Values(m.packages))); len(of) == 1 {
		return of[0]
	}
	return ""
}

// missingPart returns the package of verbs that the simulator does not play, if the bug is in one.
func (m *mutant) missingPart() string {
	for _, dir := range m.packages {
		name := filepath.Base(dir)
		isLayer := slices.Contains([]string{"log", "workqueue"}, name)
		if isLayer && !slices.ContainsFunc(newWorld(1).parts, func(p part) bool { return partName(p) == name }) {
			return name
		}
	}
	return ""
}

// spared returns the parts that do not look for a mutant. Only the part of a layer looks for a bug in
// it, beside what all have in common.
func spared(m *mutant) string {
	if *huntSpared != "" {
		return *huntSpared
	}
	looks := []string{"disk", "bank", "keys", "deals", "reminders"}
	switch of := m.of(); {
	case of == "./log":
		looks = []string{"disk", "bank", "log"}
	case of == "./internal/queue":
		looks = []string{"disk", "bank", "deals", "workqueue", "visibility"}
	}
	var list []string
	for _, p := range newWorld(1).parts {
		if name := partName(p); !slices.Contains(looks, name) {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// build calls go build in the root of the module. A path that is trimmed lets the mutants share
// what they have in common.
func (m *mutant) build(t *testing.T, more ...string) {
	args := []string{"build", "-trimpath"}
	if m != nil {
		args = append(args, "-overlay", m.overlay)
	}
	build := exec.Command("go", append(args, more...)...)
	build.Dir = "../.."
	runTool(t, build)
}

// buildMutant returns a simulator of a mutant, nil for the library as it is.
func buildMutant(t *testing.T, m *mutant) (sim string) {
	sim = filepath.Join(t.TempDir(), "sim")
	m.build(t, "-o", sim, "./internal/sim")
	return sim
}

func runTool(t *testing.T, c *exec.Cmd) {
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

var finding = regexp.MustCompile(`(?m)(seed \d+ fails|HANGS|panic:|fatal error:).*$`)

// hunt plays fresh seeds for some time. How says what was found: a fault, a world that hangs, or a panic.
func hunt(t *testing.T, sim, without string, budget time.Duration) (found bool, how string) {
	out, err := exec.Command(sim, "-for", budget.String(), "-shrink", "0", "-hang", "30s", "-without", without).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	how = finding.FindString(string(out))
	require.Equal(t, err != nil, how != "", "%s", out)
	return how != "", how
}
