package messages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// jsonFault says where JSON ends to be JSON: line and column, from 1.
func jsonFault(input []byte, err error) string {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err.Error()
	}
	at := min(max(int(syntax.Offset)-1, 0), len(input))
	before := input[:at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := at - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d column %d: %s", line, column, syntax.Error())
}
