//go:build race

package sim

// seedsDefault is how many seeds TestSim simulates under the race detector,
// which has little to find in one goroutine.
const seedsDefault = 150
