//go:build !race

package sim

// seedsDefault is how many seeds TestSim simulates.
const seedsDefault = 5000
