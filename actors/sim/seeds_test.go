//go:build !race

package sim

// seedsDefault is how many seeds TestSim simulates: two minutes of two cores.
const seedsDefault = 2500
