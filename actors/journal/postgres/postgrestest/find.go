package postgrestest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/limpetrun/limpet/messages"
)

// installed is where Debian and its kin put the versions.
const installed = "/usr/lib/postgresql/*/bin"

// findPrograms returns the directory that has initdb and postgres.
func findPrograms(ctx context.Context) (string, error) {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	versions, err := filepath.Glob(installed)
	if err != nil {
		return "", messages.Errorf(messages.CodeInternal, "look for PostgreSQL in %s: %w", installed, err)
	}
	slices.SortFunc(versions, func(a, b string) int { return versionOf(b) - versionOf(a) })
	dirs = append(dirs, versions...)
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, dir := range dirs {
		if runnable(filepath.Join(dir, "initdb")) && runnable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", messages.Errorf(messages.CodeUnavailable, "no PostgreSQL server programs (initdb, postgres) in PATH, in %s or where pg_config says; "+
		"install the package postgresql: apt-get install -y --no-install-recommends postgresql", installed)
}

// versionOf returns the version in the path of a directory like installed.
func versionOf(dir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	if err != nil {
		return 0
	}
	return n
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
