package policy

import (
	"slices"
	"strings"
	"testing"
)

// TestDocs: every example of docs/policies.md is a file without problems and
// warnings, and together they have every kind, strategy and key.
func TestDocs(t *testing.T) {
	page := string(read(t, "../docs/policies.md"))
	used := map[string]bool{}
	examples := 0
	for rest := page; ; examples++ {
		_, after, found := strings.Cut(rest, "```yaml\n")
		if !found {
			break
		}
		text, after, _ := strings.Cut(after, "```")
		rest = after
		f, err := ParseStrict("example", []byte(text))
		if strings.HasPrefix(text, "version: 1\n") { // the one that shares a prefix, as files of version 1 do
			f, err = Parse("example", []byte(text))
		} else if len(f.Warnings.List) > 0 {
			t.Errorf("%s\n%v", text, &f.Warnings)
		}
		if err != nil || len(f.Policies) == 0 {
			t.Errorf("%s\n%v", text, err)
		}
		for _, p := range f.Policies {
			used[p.Kind.String()], used[string(p.Strategy)] = true, true
			for _, s := range settings(p) {
				if !s.byDefault {
					used[s.block], used[s.key] = true, true
				}
			}
		}
	}
	if examples < 10 {
		t.Errorf("found %d examples", examples)
	}
	for _, word := range slices.Concat([]string{"plain", "twoTier", "federated", "meter", "guarded"}, strategies, policyKeys, blocks, tierKeys, guardKeys) {
		_, refused := unserved[word]
		other := slices.Contains([]string{"windowMs", "periodMs", "prefix"}, word) // Format writes the others of these
		if !used[word] && !refused && !other {
			t.Errorf("no example has %s", word)
		}
		if !strings.Contains(page, word) && word != "plain" {
			t.Errorf("the page does not explain %s", word)
		}
	}
}
