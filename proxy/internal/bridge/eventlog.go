package bridge

import (
	log "github.com/golang/glog"

	"github.com/hc-server/hc/proxy/internal/convert"
	"github.com/hc-server/hc/proxy/internal/wire"
)

// eventLog writes the log: changes at once, repeats at -v=1. The words are
// Seesaw's where Seesaw has any.
type eventLog struct {
	engineAway, serverAway, failing, undelivered bool
	fetchedOnce                                  bool
	drops, rejections                            reasons
}

// reasons holds what was last said about each check.
type reasons map[uint64]string

// news reports whether this is something new, and notes it.
func (r *reasons) news(id uint64, reason string) bool {
	if *r == nil {
		*r = make(reasons)
	}
	if (*r)[id] == reason {
		return false
	}
	(*r)[id] = reason
	return true
}

func (r reasons) forget(gone func(id uint64) bool) {
	for id := range r {
		if gone(id) {
			delete(r, id)
		}
	}
}

// first is true for the first of a row of calls.
func first(state *bool) bool {
	was := *state
	*state = true
	return !was
}

func (l *eventLog) engineUp(socket string, epoch uint64) {
	l.engineAway, l.failing, l.fetchedOnce = false, false, false
	log.Infof("Connected to engine at %s (connection %d)", socket, epoch)
}

func (l *eventLog) engineDown(err error) {
	if first(&l.engineAway) {
		log.Errorf("No connection to the engine; checks run on, and it is tried again: %v", err)
		return
	}
	log.V(1).Infof("Still no connection to the engine: %v", err)
}

func (l *eventLog) fetching() {
	if !l.fetchedOnce && !l.failing {
		log.Info("Getting healthchecks from engine...")
		return
	}
	log.V(1).Info("Getting healthchecks from engine...")
}

func (l *eventLog) fetchFailed(err error) {
	if first(&l.failing) {
		log.Errorf("The healthchecks were not fetched; those of before run on, and it is tried again: %v", err)
		return
	}
	log.V(1).Infof("The healthchecks were not fetched again: %v", err)
}

func (l *eventLog) fetched(set convert.Set, dropped map[uint64]string, changed bool) {
	l.failing = false
	for id, reason := range dropped {
		if l.drops.news(id, reason) {
			log.Warningf("Healthcheck %d does not run, since hc-server cannot be told of it: %s", id, reason)
		}
	}
	l.drops.forget(func(id uint64) bool { return dropped[id] == "" })
	l.rejections.forget(func(id uint64) bool { return set[id] == nil })
	total := len(set) + len(dropped)
	switch again := !first(&l.fetchedOnce); {
	case again && !changed:
		log.V(1).Infof("Engine returned %d healthchecks", total)
	case len(dropped) > 0:
		log.Infof("Engine returned %d healthchecks, %d of them do not run", total, len(dropped))
	default:
		log.Infof("Engine returned %d healthchecks", total)
	}
}

func (l *eventLog) serverUp(version string) {
	l.serverAway = false
	log.Infof("Connected to hc-server %s", version)
}

func (l *eventLog) serverDown(err error) {
	if first(&l.serverAway) {
		log.Errorf("No connection to hc-server; the engine hears nothing until there is one, and it is tried again: %v", err)
		return
	}
	log.V(1).Infof("Still no connection to hc-server: %v", err)
}

func (l *eventLog) rejected(checks []wire.Rejection) {
	for _, check := range checks {
		switch {
		case check.ID == nil:
			log.Warningf("hc-server does not run a healthcheck whose id it cannot read: %s", check.Reason)
		case l.rejections.news(*check.ID, check.Reason):
			log.Warningf("hc-server does not run healthcheck %d: %s", *check.ID, check.Reason)
		}
	}
}

func (l *eventLog) delivered(err error) {
	switch {
	case err == nil && l.undelivered:
		l.undelivered = false
		log.Info("The engine takes notifications again")
	case err == nil:
	case first(&l.undelivered):
		log.Warningf("The engine did not take notifications; hc-server keeps them and sends them again: %v", err)
	default:
		log.V(1).Infof("The engine did not take notifications again: %v", err)
	}
}
