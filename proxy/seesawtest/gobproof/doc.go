// Package gobproof proves hc-proxy's plain structs against Seesaw's own types:
// what one side encodes the other decodes, field for field, both ways. Fields are
// found by reflection, so a field that Seesaw adds makes the tests fail.
package gobproof
