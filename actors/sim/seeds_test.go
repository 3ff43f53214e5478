//go:build !race

package sim

// seedsDefault is how many seeds TestSim simulates: three minutes of two cores.
const seedsDefault = 4000
