package postgres_test

import (
	"io/fs"
	"os"
	"syscall"
)

// chownLike gives a file to the owner of another.
func chownLike(path string, other fs.FileInfo) error {
	stat := other.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}
