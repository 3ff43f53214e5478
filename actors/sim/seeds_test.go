//go:build !race

package sim

// seedsDefault is how many seeds TestSim simulates: a minute and a half of two cores.
const seedsDefault = 2000
