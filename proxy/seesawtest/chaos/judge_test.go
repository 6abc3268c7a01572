package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hc-server/hc/proxy/internal/wire"
)

// skew is how far apart two readings of the clock may be that ought to be one.
const skew = 10 * time.Millisecond

// judge knows the true state of every backend at every moment and what the
// engines have heard. Its methods may be called concurrently.
type judge struct {
	mu      sync.Mutex
	records []*record
	outages []span
	cuts    []span // this node had no way to any backend

	// followers judge what others hear of the same truth.
	followers []*judge
	// isLate is set where words may come long after the change that they are about.
	// They then name the latest probe, which may be one that failed and does not
	// count yet because of retries.
	isLate bool

	isCalm   bool
	latest   time.Time
	heard    int
	reported int
	lost     int
	wrong    []string
	late     []time.Duration
}

// span is a length of time. An open one has no end yet.
type span struct{ from, to time.Time }

// record is the truth about one backend, and what was said of it.
type record struct {
	backend *backend
	truth   []turn
	told    wire.State
	toldAt  time.Time // of the latest word, whatever it says
	pending *turn
}

// turn is a change of the truth, which happened between two moments.
type turn struct {
	up            bool
	before, after time.Time
}

// turnsKept is more than a word about a backend can be old.
const turnsKept = 64

// newJudge takes the fleet as it is for the truth so far.
func newJudge(f *fleet) *judge {
	j := &judge{}
	for _, b := range f.backends {
		j.records = append(j.records, &record{backend: b, truth: []turn{{up: b.isUp.Load()}}})
	}
	return j
}

func stateOf(up bool) wire.State {
	if up {
		return wire.StateHealthy
	}
	return wire.StateUnhealthy
}

// flip changes the truth and expects the engine to hear of it.
func (j *judge) flip(b *backend) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records[b.index]
	next := turn{up: !r.up(), before: wall()}
	err := b.set(next.up)
	next.after = wall()
	r.truth = append(r.truth, next)
	if len(r.truth) > turnsKept {
		r.truth = slices.Delete(r.truth, 0, 1)
	}
	r.pending = &next
	for _, f := range j.followers {
		f.follow(b, next)
	}
	return err
}

// follow takes a flip from the judge that this one follows. Who hears this one's
// words may be told late, so a flip that was not told before the next is no loss:
// the next one has to be.
func (j *judge) follow(b *backend, next turn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.records[b.index]
	r.truth = append(r.truth, next)
	if len(r.truth) > turnsKept {
		r.truth = slices.Delete(r.truth, 0, 1)
	}
	r.pending = &next
	if r.told == stateOf(next.up) {
		r.pending = nil // it never heard of the flip before, and need not hear of this one
	}
}

// wall is now without the monotonic reading: words about probes have none.
func wall() time.Time { return time.Now().Round(0) }

// opposite is when the latest flip but one was: a probe that began after it and
// says the contrary has seen the latest.
func (r *record) opposite() time.Time {
	if len(r.truth) < 2 {
		return time.Time{}
	}
	return r.truth[len(r.truth)-2].before
}

func (r *record) up() bool { return r.truth[len(r.truth)-1].up }

// ever reports whether the backend was so at some moment of a span.
func (r *record) ever(up bool, from, to time.Time) bool {
	for i, t := range r.truth {
		ends := to
		if i+1 < len(r.truth) {
			ends = r.truth[i+1].after
		}
		if t.up == up && !t.before.After(to) && !ends.Before(from) {
			return true
		}
	}
	return false
}

// hear takes a word that an engine heard at a time. A word that changes what was
// said before must be what a probe can have found: the backend was so at some
// moment between the start of the probe and the word.
func (j *judge) hear(b *backend, state wire.State, message string, lastCheck, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.heard++
	if lastCheck.After(j.latest) {
		j.latest = lastCheck
	}
	r := j.records[b.index]
	before := r.told
	r.told, r.toldAt = state, at
	up := state == wire.StateHealthy
	from := lastCheck.Add(-skew)
	if j.isLate {
		from = from.Add(-b.detection(false))
	}
	if state != before && !j.cutOff(state, message, at) && (state != stateOf(up) || !r.ever(up, from, at)) {
		j.wrong = append(j.wrong, fmt.Sprintf("%s %s: %q after %q at %s, from a probe of %s before; true: %s",
			b.kind, b.hostPort(), state, before, at.Format(clock), at.Sub(lastCheck), r.history()))
	}
	if p := r.pending; p != nil && state == stateOf(p.up) && !lastCheck.Before(r.opposite().Add(-skew)) {
		r.pending = nil
		j.reported++
		j.late = append(j.late, max(0, at.Sub(p.after)-b.detection(p.up)-j.outage(p.before, at)))
	}
}

// holdUnreachable is for how long checks are held while there is no way to their
// backends: the default of hc-server.
const holdUnreachable = 10 * time.Second

// cutEnds is when the latest probes that found no way have been told.
const cutEnds = 2 * time.Second

// cutBegins and cutOver say when this node has no way to any backend.
func (j *judge) cutBegins() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cuts = append(j.cuts, span{from: wall()})
}

func (j *judge) cutOver() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cuts[len(j.cuts)-1].to = wall()
}

// cutOff reports whether a word is what is to be said of a backend, up or down,
// that this node has had no way to for long enough.
func (j *judge) cutOff(state wire.State, message string, at time.Time) bool {
	if state != wire.StateUnhealthy || !strings.Contains(message, "no way to the backend from this node") {
		return false
	}
	return slices.ContainsFunc(j.cuts, func(cut span) bool {
		return !at.Before(cut.from.Add(holdUnreachable-skew)) && (cut.to.IsZero() || at.Before(cut.to.Add(cutEnds)))
	})
}

// withdrawn reports whether every backend was last said to be unhealthy.
func (j *judge) withdrawn() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !slices.ContainsFunc(j.records, func(r *record) bool { return r.told != wire.StateUnhealthy })
}

const clock = "15:04:05.000"

// history is the latest of the truth in words.
func (r *record) history() string {
	text := ""
	for _, t := range r.truth[max(0, len(r.truth)-3):] {
		text += fmt.Sprintf("%s since %s ", stateOf(t.up), t.before.Format(clock))
	}
	return text
}

// stray takes a word about an id that the engine never had.
func (j *judge) stray(id uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.wrong = append(j.wrong, fmt.Sprintf("an engine heard of id %d, which it does not have", id))
}

// lostAfter is how much later than due a flip counts as lost. It is long: on a
// machine with no time to spare every probe is late, and a server that falls silent
// is found out by several of them. How late a flip is told is in the table.
const lostAfter = 3 * time.Minute

// giveUp counts pending flips that nobody can be expected to report any more.
func (j *judge) giveUp() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := wall()
	for _, r := range j.records {
		p := r.pending
		if p == nil || now.Sub(p.after) < r.backend.detection(p.up)+j.outage(p.before, now)+lostAfter {
			continue
		}
		r.pending = nil
		j.lost++
		j.wrong = append(j.wrong, fmt.Sprintf("%s %s: a flip is lost; true: %s; said: %q at %s",
			r.backend.kind, r.backend.hostPort(), r.history(), r.told, r.toldAt.Format(clock)))
	}
}

// troubleBegins begins an outage, which flips need not be reported in.
func (j *judge) troubleBegins() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outages = append(j.outages, span{from: wall()})
}

func (j *judge) troubleEnds() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outages[len(j.outages)-1].to = wall()
}

// outage is how much of a span was an outage.
func (j *judge) outage(from, to time.Time) (sum time.Duration) {
	for i := len(j.outages) - 1; i >= 0; i-- {
		o := j.outages[i]
		if o.to.IsZero() {
			o.to = to
		}
		if o.to.Before(from) {
			break
		}
		begin, end := o.from, o.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// isPending reports whether the engine has yet to hear of a backend's flip.
func (j *judge) isPending(b *backend) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.records[b.index].pending != nil
}

// silent is how many backends the engine has heard nothing of since a moment: of
// those that are up, which lose service by it, and of all.
func (j *judge) silent(since time.Time) (up, all int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r.toldAt.After(since) {
			continue
		}
		all++
		if r.up() {
			up++
		}
	}
	return up, all
}

// settled reports whether every flip from before a moment was told, and what was
// last said is true of every backend that has not flipped since.
func (j *judge) settled(since time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r.pending == nil && r.told != stateOf(r.up()) || r.pending != nil && r.pending.before.Before(since) {
			return false
		}
	}
	return true
}

// freshest is the start of the latest probe that the engine heard of.
func (j *judge) freshest() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.latest
}

// still stops the backends from flipping, or lets them flip again.
func (j *judge) still(still bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.isCalm = still
}

func (j *judge) isStill() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.isCalm
}

// verdicts are the judge's counts at a moment.
type verdicts struct {
	heard, reported, lost, wrong int
	late                         []time.Duration
}

func (j *judge) verdicts() verdicts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return verdicts{j.heard, j.reported, j.lost, len(j.wrong), slices.Clone(j.late)}
}

// wrongs returns what was wrong from the given number on.
func (j *judge) wrongs(from int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.wrong[from:])
}
