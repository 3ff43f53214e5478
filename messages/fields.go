package messages

// What the lists of the API's requests may hold. They are counted while a
// request is read, before its messages are made.

// CountMax is a limit of how many entries a repeated field or a map has.
type CountMax struct {
	// Limit is the name of the constant.
	Limit string
	Max   int
}

// countMax by the full name of the field.
var countMax = map[string]CountMax{
	"limpet.api.v1.StartRunsRequest.runs":     {"BulkRunsMax", BulkRunsMax},
	"limpet.api.v1.StartRunRequest.metadata":  {"MetadataMax", MetadataMax},
	"limpet.api.v1.PushEventRequest.metadata": {"MetadataMax", MetadataMax},
	"limpet.api.v1.ReplayRunRequest.steps":    {"StepsMax", StepsMax},
	"limpet.api.v1.ListRunsRequest.statuses":  {"StatusesMax", StatusesMax},
}

// CountMaxOf returns the limit of a field by its full name; false if it has
// none.
func CountMaxOf(field string) (CountMax, bool) {
	c, ok := countMax[field]
	return c, ok
}

// Over is the error for more entries than there may be: LIMIT_EXCEEDED.
func (c CountMax) Over(field string) error {
	return Errorf(CodeLimitExceeded, "%s has more than %s = %d entries", field, c.Limit, c.Max)
}
