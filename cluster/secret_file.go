package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// secretBytesMax of a file with a secret.
const secretBytesMax = 64 << 10

// ReadSecretFile returns what a file holds, without spaces and newlines around
// it. It refuses a file that is empty, that is larger than 64 KiB, or that
// others than its owner and group can read; no error holds a part of it.
func ReadSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := CheckPrivate(path, info); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, secretBytesMax+1))
	if err != nil {
		return "", err
	}
	if len(data) > secretBytesMax {
		return "", fmt.Errorf("%s is larger than %d bytes", path, secretBytesMax)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", errors.New(path + " is empty")
	}
	return secret, nil
}

// CheckPrivate refuses a file that others than its owner and group can read or
// write. Windows does not tell.
func CheckPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o006 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("every user of this machine can open %s (mode %04o): chmod o-rw it", path, mode)
	}
	return nil
}
