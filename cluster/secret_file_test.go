package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSecretFile(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string
		// fault is a part of the error; empty for none.
		fault string
	}{
		"owner":  {"hush hush\n", 0o600, "hush hush", ""},
		"group":  {"\n hush\r\n\n", 0o440, "hush", ""},
		"others": {"hush", 0o644, "", "mode 0644"},
		"writes": {"hush", 0o602, "", "mode 0602"},
		"empty":  {" \n", 0o600, "", "is empty"},
		"large":  {strings.Repeat("x", secretBytesMax+1), 0o600, "", "larger than 65536 bytes"},
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(tc.text), 0o600), os.Chmod(path, tc.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSecretFile(path)
		if got != tc.want || (err == nil) != (tc.fault == "") || err != nil && (!strings.Contains(err.Error(), tc.fault) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := ReadSecretFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestPresetNamed(t *testing.T) {
	for name, want := range map[string]Preset{"local": LocalConfig(), "lan": LANConfig(), "wan": WANConfig()} {
		if got, err := PresetNamed(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := PresetNamed("fast"); err == nil {
		t.Error("there is a preset that nobody has")
	}
}
