//go:build !linux

package procs

import "time"

// TreeCPU is not known here.
func TreeCPU(int) (time.Duration, error) { return 0, nil }
