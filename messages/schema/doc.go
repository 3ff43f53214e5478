// Package schema checks JSON documents against JSON Schemas, of drafts 2020-12
// and 7, that may come from anywhere. It holds numbers as the text that they
// are, so that a number of any size is compared exactly and none is rounded.
//
// Data flow: schema text → Compile (limits, local references, no endless ones) →
// Schema; document text → Parse → Document; Schema.Check(Document) → a Fault
// that names the place in the document and what is wanted there.
//
// Invariants:
//
//	S1: Compile and Check end, whatever they are given: the schema is limited by
//	    NodesMax and DepthMax, the document by DocumentDepthMax, the check by
//	    CheckCostMax.
//	S2: a reference leads to a place in the same schema, never elsewhere, and
//	    not back to itself without going into the value.
//	S3: a Schema does not change and may be used concurrently.
//
// Beside the keywords of the drafts there are two of our own. "x-go" is the name
// of the Go type that has to be able to decode the value (see goTypes). "x-fold"
// true has members checked by the properties that their names differ from only
// in case, as encoding/json reads them. Not supported, and refused: $dynamicRef,
// $recursiveRef, and $id below the root.
//
// Libraries that were looked at, and why they are not used:
//
//   - google/jsonschema-go compares numbers as floats, and a schema that refers to
//     itself ends the process by stack overflow.
//   - santhosh-tekuri/jsonschema/v6 is exact and finds cycles while it checks. Its
//     check has no budget and takes no context: eighteen nested allOf, of two
//     references each, took 0.8 s for the document 1, and each level more doubles
//     that. Schemas come from workers, so a check has to stop by itself (S1).
//
// The official suite of the drafts is a test of this package.
//
// Imports nothing of ours.
package schema

// Limits of schemas, documents and checks.
const (
	// NodesMax limits the schemas within a schema.
	NodesMax = 10_000
	// DepthMax limits how deep schemas are nested in a schema.
	DepthMax = 100
	// DocumentDepthMax limits how deep arrays and objects are nested in a document.
	DocumentDepthMax = 1000
	// CheckCostMax limits what one check may cost: about 1 for each schema that
	// is applied to a value, and for each member that is looked at.
	CheckCostMax = 10_000_000
)
