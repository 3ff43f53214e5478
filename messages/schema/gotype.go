package schema

import (
	"encoding/json"
	"math/big"
	"time"
)

// goTypes are the values of "x-go". Whether one of them can hold a value is
// decided by what will decode it, encoding/json. A type followed by ",string"
// is that of a field with the option; one after "key:" is that of the keys of a
// map, and applies to a string.
var goTypes = map[string]func(raw []byte) error{
	"time.Time":   into[time.Time],
	"json.Number": into[json.Number],
	"big.Int":     into[big.Int],
	"big.Float":   into[big.Float],
	"big.Rat":     into[big.Rat],
	"[]byte":      into[[]byte],

	"string,string": intoField[struct {
		V string `json:",string"`
	}],
	"json.Number,string": intoField[struct {
		V json.Number `json:",string"`
	}],
	"bool,string": intoField[struct {
		V bool `json:",string"`
	}],
}

func init() {
	addNumber[int]("int")
	addNumber[int8]("int8")
	addNumber[int16]("int16")
	addNumber[int32]("int32")
	addNumber[int64]("int64")
	addNumber[uint]("uint")
	addNumber[uint8]("uint8")
	addNumber[uint16]("uint16")
	addNumber[uint32]("uint32")
	addNumber[uint64]("uint64")
	addNumber[uintptr]("uintptr")
	addNumber[float32]("float32")
	addNumber[float64]("float64")
	addKey[int]("int")
	addKey[int8]("int8")
	addKey[int16]("int16")
	addKey[int32]("int32")
	addKey[int64]("int64")
	addKey[uint]("uint")
	addKey[uint8]("uint8")
	addKey[uint16]("uint16")
	addKey[uint32]("uint32")
	addKey[uint64]("uint64")
	addKey[uintptr]("uintptr")
}

func addNumber[T any](name string) {
	goTypes[name] = into[T]
	goTypes[name+",string"] = intoField[struct {
		//lint:ignore SA5008 T is always a number
		V T `json:",string"`
	}]
}

func addKey[K comparable](name string) {
	goTypes["key:"+name] = func(raw []byte) error {
		object := append(append([]byte{'{'}, raw...), ":null}"...)
		return into[map[K]any](object)
	}
}

func into[T any](raw []byte) error {
	var v T
	return json.Unmarshal(raw, &v)
}

func intoField[S any](raw []byte) error {
	object := append([]byte(`{"V":`), raw...)
	return into[S](append(object, '}'))
}
