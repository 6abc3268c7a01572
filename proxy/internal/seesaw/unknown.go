package seesaw

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net/rpc"
	"reflect"
	"regexp"
	"strconv"
	"sync"
)

// maxUnknown bounds how many foreign checker types a process learns: gob's
// registry only grows.
const maxUnknown = 16

var (
	// encoding/gob, decodeInterface. A reworded error is one that is not
	// recognised: the fetch then fails as a whole, as it does in Seesaw.
	unregistered = regexp.MustCompile(`name not registered for interface: ("(?:[^"\\]|\\.){1,256}")`)

	unknownMu    sync.Mutex
	unknownNames = map[string]reflect.Type{}
)

// LearnUnknown takes the error of a fetch. If it failed because the engine has
// a checker of a type that is not registered, the type is registered with a
// placeholder, which takes the Target and skips the rest, and its name is
// returned: the next fetch succeeds, and [UnknownName] tells that check apart.
// Without this one foreign check would block every update of all others.
//
// It returns "" for other errors, and once 16 types have been learned.
func LearnUnknown(err error) string {
	// What the engine says in an answer is text, not a finding of gob here.
	var said rpc.ServerError
	if err == nil || errors.As(err, &said) {
		return ""
	}
	match := unregistered.FindStringSubmatch(err.Error())
	if match == nil {
		return ""
	}
	name, err := strconv.Unquote(match[1])
	if err != nil {
		return ""
	}
	unknownMu.Lock()
	defer unknownMu.Unlock()
	if unknownNames[name] != nil || len(unknownNames) == maxUnknown {
		return ""
	}
	// Gob wants one Go type per name; the tag makes this one different from
	// the other placeholders.
	placeholder := reflect.StructOf([]reflect.StructField{{
		Name: "Target",
		Type: reflect.TypeFor[Target](),
		Tag:  reflect.StructTag(fmt.Sprintf("unknown:%q", name)),
	}})
	gob.RegisterName(name, reflect.New(placeholder).Interface())
	unknownNames[name] = reflect.PointerTo(placeholder)
	return name
}

// UnknownName is the name of the checker's type if it is a placeholder made by
// [LearnUnknown], else its Go type.
func UnknownName(checker any) string {
	unknownMu.Lock()
	defer unknownMu.Unlock()
	for name, placeholder := range unknownNames {
		if reflect.TypeOf(checker) == placeholder {
			return name
		}
	}
	return fmt.Sprintf("%T", checker)
}
