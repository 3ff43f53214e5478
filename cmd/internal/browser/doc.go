// Package browser holds the tests of the dashboard in headless Chromium, on a cluster of
// processes of which one was killed. `make screenshots` has it write pictures.
//
// Imports only what tests may.
package browser
