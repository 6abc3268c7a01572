package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The states of a check.
const (
	StateUnknown   State = "unknown"
	StateUnhealthy State = "unhealthy"
	StateHealthy   State = "healthy"
)

// State is the state of a check, one of the three words.
type State string

// UnmarshalJSON takes no fourth word.
func (s *State) UnmarshalJSON(data []byte) error {
	var word string
	if err := json.Unmarshal(data, &word); err != nil {
		return errors.New("state: not a string")
	}
	switch State(word) {
	case StateUnknown, StateUnhealthy, StateHealthy:
		*s = State(word)
		return nil
	}
	return fmt.Errorf("state: %q is not unknown, unhealthy or healthy", word)
}

// Status is where a check stands.
type Status struct {
	// LastCheck is the start of the latest probe, in UTC; zero if there was
	// none, and then left out.
	LastCheck time.Time `json:"last_check,omitzero"`
	// Duration is how long that probe took.
	Duration Elapsed `json:"duration"`
	// Failures and Successes count since the check began.
	Failures  uint64 `json:"failures"`
	Successes uint64 `json:"successes"`
	State     State  `json:"state"`
	// Message is the text of the latest result.
	Message Bytes `json:"message"`
}

// Notification is the status of one check, under its id.
type Notification struct {
	ID     uint64 `json:"id"`
	Status Status `json:"status"`
}

// UnmarshalJSON wants every field but last_check: news without an id must not
// become news about check 0.
func (n *Notification) UnmarshalJSON(data []byte) error {
	var raw struct {
		ID     *uint64 `json:"id"`
		Status *struct {
			LastCheck time.Time `json:"last_check"`
			Duration  *Elapsed  `json:"duration"`
			Failures  *uint64   `json:"failures"`
			Successes *uint64   `json:"successes"`
			State     *State    `json:"state"`
			Message   *Bytes    `json:"message"`
		} `json:"status"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	s := raw.Status
	if raw.ID == nil || s == nil || s.Duration == nil || s.Failures == nil || s.Successes == nil ||
		s.State == nil || s.Message == nil {
		return errors.New("a notification lacks one of id, duration, failures, successes, state, message")
	}
	*n = Notification{ID: *raw.ID, Status: Status{
		LastCheck: s.LastCheck.UTC(), Duration: *s.Duration,
		Failures: *s.Failures, Successes: *s.Successes, State: *s.State, Message: *s.Message,
	}}
	return nil
}
