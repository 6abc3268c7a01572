// Package fill makes values and descriptions of types by reflection alone, the
// same in two programs whose types agree. A field that one side has and the
// other has not changes both.
package fill

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// MapSize is how many entries a map is given: every checker type has its turn
// in a map of checks.
const MapSize = 6

// FirstKey is the lowest key of a map with unsigned keys. It is above 2^63, as
// ids of the engine may be.
const FirstKey = 1<<63 + 7

var timeType = reflect.TypeFor[time.Time]()

// Filler fills values with numbers and texts that never repeat and are never
// zero. Interfaces are given pointers to new values of the types in turn.
type Filler struct {
	Checkers []reflect.Type
	count    int
	turn     int
}

// Fill sets every exported field below the pointer. It panics on kinds that gob
// or Seesaw do not use.
func (f *Filler) Fill(pointer any) { f.fill(reflect.ValueOf(pointer).Elem()) }

func (f *Filler) next() int {
	f.count++
	return f.count
}

func (f *Filler) fill(v reflect.Value) {
	switch {
	case v.Type() == timeType:
		n := int64(f.next())
		v.Set(reflect.ValueOf(time.Unix(1_700_000_000+n, n).UTC()))
		return
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		bytes := reflect.MakeSlice(v.Type(), 16, 16)
		for i := range 16 {
			bytes.Index(i).SetUint(uint64(f.next() & 0xff))
		}
		v.Set(bytes)
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("\x00\xff%d", f.next()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.next()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(f.next()))
	case reflect.Uint64:
		v.SetUint(FirstKey + uint64(f.next()))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range MapSize {
			key := reflect.New(v.Type().Key()).Elem()
			key.SetUint(FirstKey + uint64(i))
			value := reflect.New(v.Type().Elem()).Elem()
			f.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Interface:
		checker := reflect.New(f.Checkers[f.turn%len(f.Checkers)])
		f.turn++
		f.fill(checker.Elem())
		v.Set(checker)
	default:
		panic("fill: nothing for " + v.Type().String())
	}
}

// Text shows a value with all that it points at and without control characters.
func Text(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Field is what gob sees of a field of a struct. Kind is gob's, which knows one
// size of number only; Bits is the size of a number, 0 for anything else.
type Field struct {
	Name string
	Kind string
	Bits int
}

// Describe lists the fields of a struct in order, those of nested structs under
// their own names. Names of types are no part of it.
func Describe(t reflect.Type) []Field { return describe(t, "") }

func describe(t reflect.Type, prefix string) []Field {
	var out []Field
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		name := prefix + field.Name
		kind, bits := gobKind(field.Type)
		out = append(out, Field{name, kind, bits})
		if inner := structBelow(field.Type); inner != nil {
			out = append(out, describe(inner, name+".")...)
		}
	}
	return out
}

func gobKind(t reflect.Type) (kind string, bits int) {
	if t == timeType {
		return "time", 0
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int", t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "uint", t.Bits()
	case reflect.Pointer:
		return gobKind(t.Elem()) // gob sends what it points at
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes", 0
		}
		element, bits := gobKind(t.Elem())
		return "list of " + element, bits
	case reflect.Map:
		key, bits := gobKind(t.Key())
		element, _ := gobKind(t.Elem())
		return "map of " + key + " to " + element, bits
	default:
		return t.Kind().String(), 0
	}
}

func structBelow(t reflect.Type) reflect.Type {
	for {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			if t == timeType {
				return nil
			}
			return t
		default:
			return nil
		}
	}
}
