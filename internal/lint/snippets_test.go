package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// snippet is a block of Go in a page.
type snippet struct {
	page  string // relative to the root
	line  int    // of the fence
	lines []string
}

// A reader copies the snippets of the README and the guides, so each stands in a program, an example
// or a test, which the compiler checks and the tests run.
func TestSnippetsOfThePagesStandInGoFiles(t *testing.T) {
	files := goFiles(t)
	for _, s := range snippets(t) {
		if bad := s.missing(files); bad != "" {
			t.Errorf("%s:%d: %s\nPut the snippet into a test, an example or a program, and copy it from there.", s.page, s.line, bad)
		}
	}
}

// goFiles returns the lines of all Go files of the root module, without their indentation. Files of
// nested modules are left out because `go test ./...` does not run them.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := make(map[string][]string)
	for _, s := range sources(t) {
		if s.bench() || s.above() || s.in("visibility/lincheck") || s.in("workqueue/cron") || s.in("admin/browsertest") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(s.name)))
		if err != nil {
			t.Fatal(err)
		}
		files[s.name] = trimmed(string(text))
	}
	return files
}

func snippets(t *testing.T) (all []snippet) {
	t.Helper()
	root := filepath.Join("..", "..")
	guides, err := filepath.Glob(filepath.Join(root, "docs", "guide", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(guides, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, blocks(filepath.ToSlash(page), trimmed(string(text)))...)
	}
	return all
}

// blocks returns the Go blocks of a page.
func blocks(page string, lines []string) (found []snippet) {
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```go" {
			continue
		}
		length := slices.Index(lines[i+1:], "```")
		if length < 0 {
			length = len(lines) - i - 1
		}
		found = append(found, snippet{page, i + 1, lines[i+1 : i+1+length]})
		i += length + 1
	}
	return found
}

func trimmed(text string) []string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// missing returns "" if a file has the lines of the snippet in a row. Otherwise it says which line
// the file that agrees longest has instead.
func (s snippet) missing(files map[string][]string) string {
	if len(s.lines) == 0 {
		return "the snippet is empty"
	}
	best, where, at := 0, "", 0
	for name, lines := range files {
		for i := range lines {
			n := common(s.lines, lines[i:])
			if n == len(s.lines) {
				return ""
			}
			if n > best || n == best && n > 0 && name < where {
				best, where, at = n, name, i
			}
		}
	}
	if best == 0 {
		return fmt.Sprintf("no Go file has the first line of the snippet:\n\t%s", s.lines[0])
	}
	instead := "the end of the file"
	if next := files[where]; at+best < len(next) {
		instead = next[at+best]
	}
	return fmt.Sprintf("line %d of the snippet is not in a Go file:\n\t%s\n%s:%d has instead:\n\t%s",
		best+1, s.lines[best], where, at+best+1, instead)
}

// common returns how many lines a and b begin with alike.
func common(a, b []string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func TestASnippetThatDiffersIsNamed(t *testing.T) {
	files := map[string][]string{"a_test.go": {"x := 1", "y := 2", "z := 3"}}
	page := trimmed("text\n```go\nx := 1\ny := 2\n```\n```sh\nls\n```\n  ```go\n  y := 2\n  z := 4\n  ```\n```go\n```\n")
	found := blocks("p.md", page)
	if len(found) != 3 {
		t.Fatalf("%d blocks: %v", len(found), found)
	}
	for i, want := range []string{"", "a_test.go:3 has instead:\n\tz := 3", "empty"} {
		got := found[i].missing(files)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("block at line %d: %q does not contain %q", found[i].line, got, want)
		}
	}
}
