package shadow

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1700000000, 0)

// script plays "side state@second" words and "@second" for a look at the clock,
// and returns what was found.
func script(t *testing.T, words ...string) []string {
	t.Helper()
	c := newComparer(func(string) time.Duration { return 3 * time.Second })
	sides := map[string]Side{"s": Seesaw, "h": HCServer}
	states := map[string]State{"up": Healthy, "down": Unhealthy, "?": Unknown}
	var found []string
	for _, word := range words {
		change, second, _ := strings.Cut(word, "@")
		length, err := time.ParseDuration(second + "s")
		if err != nil {
			t.Fatal(err)
		}
		at := start.Add(length)
		var findings []Finding[string]
		if change == "" {
			findings = c.advance(at)
		} else {
			side, state, _ := strings.Cut(change, " ")
			findings = c.set("key", sides[side], states[state], at)
		}
		for _, f := range findings {
			text := fmt.Sprintf("%s %s/%s %v", f.Kind, f.Seesaw, f.HCServer, f.Lasted)
			if f.Known {
				text += " by " + f.First.String()
			}
			switch {
			case f.Incomparable:
				text += ", incomparable"
			case f.Followed:
				text += ", followed"
			}
			found = append(found, text)
		}
	}
	return found
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		name  string
		words []string
		want  []string
	}{
		{"both change at once", []string{"s up@0", "h up@0", "h down@5", "s down@5", "@99"},
			[]string{"timing healthy/unhealthy 0s by hc-server, followed"}},
		{"one follows in time", []string{"s up@0", "h up@1", "s down@5", "@7", "h down@7.5", "@99"},
			[]string{"timing unhealthy/healthy 2.5s by seesaw, followed"}},
		{"one changes back in time", []string{"s up@0", "h up@0", "h down@5", "h up@7", "@99"},
			[]string{"timing healthy/unhealthy 2s by hc-server"}},
		{"it lasts, is said once, and ends", []string{"s up@0", "h up@0", "h down@5", "@8", "@8.1", "@20", "s down@21", "@99"},
			[]string{"verdict healthy/unhealthy 3.1s by hc-server", "verdict_over healthy/unhealthy 16s by hc-server, followed"}},
		{"it lasts, and nobody looked", []string{"s up@0", "h up@0", "h down@5", "s down@9"},
			[]string{"verdict healthy/unhealthy 4s by hc-server", "verdict_over healthy/unhealthy 4s by hc-server, followed"}},
		{"different from the beginning", []string{"s up@0", "h down@2", "@6"},
			[]string{"verdict healthy/unhealthy 4s"}},
		{"one side is not known yet", []string{"s up@0", "@99", "h up@100", "@200"}, nil},
		{"a side is not known any more", []string{"s up@0", "h down@1", "s ?@2", "@99", "s up@100", "@104", "s ?@105"},
			[]string{"verdict healthy/unhealthy 4s", "verdict_over healthy/unhealthy 5s, incomparable"}},
		{"a change that comes late is not of negative length", []string{"s up@0", "h up@0", "h down@5", "s down@4"},
			[]string{"timing healthy/unhealthy 0s by hc-server, followed"}},
	} {
		if got := script(t, c.words...); strings.Join(got, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestWhatFollowsOfABackend(t *testing.T) {
	for _, c := range []struct {
		engine         destinations
		checks         []State
		seesaw, server State
	}{
		{destinations{healthy: 2}, []State{Healthy, Healthy}, Healthy, Healthy},
		{destinations{healthy: 2}, []State{Healthy, Unhealthy}, Healthy, Unhealthy},
		{destinations{unhealthy: 2}, []State{Healthy, Unhealthy}, Unhealthy, Unhealthy},
		{destinations{unhealthy: 1}, []State{Healthy, Healthy}, Unhealthy, Healthy},
		{destinations{healthy: 1, unhealthy: 1}, []State{Healthy, Healthy}, Unknown, Healthy},
		{destinations{}, []State{Healthy}, Unknown, Healthy},
		{destinations{healthy: 1}, []State{Unhealthy, Unknown}, Healthy, Unknown},
		{destinations{healthy: 1}, nil, Healthy, Unknown},
	} {
		if seesaw, server := judge(c.engine, c.checks); seesaw != c.seesaw || server != c.server {
			t.Errorf("%+v, %v: %s, %s", c.engine, c.checks, seesaw, server)
		}
	}
}
