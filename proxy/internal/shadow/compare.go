package shadow

import "time"

// State is what one side says about a check or a backend.
type State string

// The states. Unknown takes part in no comparison.
const (
	Unknown   State = "unknown"
	Unhealthy State = "unhealthy"
	Healthy   State = "healthy"
)

// Side is one of the two that are compared.
type Side int

// The sides.
const (
	Seesaw Side = iota
	HCServer
)

func (s Side) String() string {
	if s == Seesaw {
		return "seesaw"
	}
	return "hc-server"
}

// Kind is what a [Finding] says.
type Kind string

// The kinds of findings.
const (
	// Timing is a difference that was over within the tolerance.
	Timing Kind = "timing"
	// Verdict is a difference that lasts longer than the tolerance.
	Verdict Kind = "verdict"
	// VerdictOver is the end of one that was reported as Verdict.
	VerdictOver Kind = "verdict_over"
)

// Finding is something to report about a difference.
type Finding[K comparable] struct {
	Key  K
	Kind Kind
	// Seesaw and HCServer are what the two said while they differed.
	Seesaw, HCServer State
	// Began is when the difference did, Lasted how long it has lasted so far, or
	// did in all.
	Began  time.Time
	Lasted time.Duration
	// First is the side whose change began it. Known is false when it was there
	// from the first time that both were known.
	First Side
	Known bool
	// Followed says of a difference that is over that the other side came to say
	// the same; otherwise the first one changed back.
	Followed bool
	// Incomparable says that it is over only because a side is not known any more.
	Incomparable bool
}

// comparer finds the differences between two sides that each say one state about
// each of many subjects. It reads no clock: changes come with their time, and in
// about the order of their times.
type comparer[K comparable] struct {
	// tolerance is how long a difference in a subject may last for it to count as
	// one of timing.
	tolerance func(K) time.Duration
	subjects  map[K]*subject
	// differing are the subjects in which the sides differ now.
	differing map[K]struct{}
}

type subject struct {
	states   [2]State
	began    time.Time
	first    Side
	known    bool
	reported bool
}

func newComparer[K comparable](tolerance func(K) time.Duration) *comparer[K] {
	return &comparer[K]{tolerance: tolerance, subjects: make(map[K]*subject), differing: make(map[K]struct{})}
}

// set takes what a side says of a subject from a time on.
func (c *comparer[K]) set(key K, side Side, state State, at time.Time) []Finding[K] {
	s := c.subjects[key]
	if s == nil {
		s = &subject{states: [2]State{Unknown, Unknown}}
		c.subjects[key] = s
	}
	if s.states[side] == state {
		return nil
	}
	_, differed := c.differing[key]
	var findings []Finding[K]
	if differed {
		findings = c.end(key, s, side, state, at)
	}
	before := s.states[side]
	s.states[side] = state
	if s.differ() {
		s.began, s.first, s.known, s.reported = at, side, before != Unknown, false
		c.differing[key] = struct{}{}
	}
	return findings
}

func (s *subject) differ() bool {
	return s.states[Seesaw] != Unknown && s.states[HCServer] != Unknown && s.states[Seesaw] != s.states[HCServer]
}

// end closes the difference in a subject because a side now says something else.
func (c *comparer[K]) end(key K, s *subject, side Side, state State, at time.Time) []Finding[K] {
	delete(c.differing, key)
	var findings []Finding[K]
	if f := c.late(key, s, at); f != nil {
		findings = append(findings, *f)
	}
	over := c.finding(key, s, at)
	over.Followed = state != Unknown && s.known && side != s.first
	over.Incomparable = state == Unknown
	switch {
	case s.reported:
		over.Kind = VerdictOver
	case over.Incomparable:
		return findings
	default:
		over.Kind = Timing
	}
	return append(findings, over)
}

// late is the finding that a difference has lasted longer than it may, once.
func (c *comparer[K]) late(key K, s *subject, now time.Time) *Finding[K] {
	if s.reported || now.Sub(s.began) <= c.tolerance(key) {
		return nil
	}
	s.reported = true
	f := c.finding(key, s, now)
	f.Kind = Verdict
	return &f
}

func (c *comparer[K]) finding(key K, s *subject, now time.Time) Finding[K] {
	return Finding[K]{
		Key: key, Seesaw: s.states[Seesaw], HCServer: s.states[HCServer],
		Began: s.began, Lasted: max(0, now.Sub(s.began)), First: s.first, Known: s.known,
	}
}

// advance reports the differences that have lasted too long by now.
func (c *comparer[K]) advance(now time.Time) []Finding[K] {
	var findings []Finding[K]
	for key := range c.differing {
		if f := c.late(key, c.subjects[key], now); f != nil {
			findings = append(findings, *f)
		}
	}
	return findings
}

// forget drops a subject that is not there any more.
func (c *comparer[K]) forget(key K, at time.Time) []Finding[K] {
	findings := c.set(key, HCServer, Unknown, at)
	delete(c.subjects, key)
	return findings
}

// count is how many subjects both sides know, and in how many of them they differ.
func (c *comparer[K]) count() (compared, differing int) {
	for _, s := range c.subjects {
		if s.states[Seesaw] != Unknown && s.states[HCServer] != Unknown {
			compared++
		}
	}
	return compared, len(c.differing)
}
