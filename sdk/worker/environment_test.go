package worker

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

func TestConfigFromEnv(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{
		"LIMPET_WORKER_ID": "gpu/1", "LIMPET_JOIN": "limpet-servers:7946, 10.0.0.12:7946,", "LIMPET_JOIN_TIMEOUT": "-1s",
		"LIMPET_SECRET_FILE": secret, "LIMPET_SLOTS": "8", "LIMPET_STICKY_RUNS_MAX": "100", "LIMPET_LABELS": "gpu=a100, zone = b=c",
		"LIMPET_POOL": "gpu", "LIMPET_BIND": ":7081", "LIMPET_GOSSIP": ":7946", "LIMPET_ADVERTISE_HOST": "10.1.2.3",
		"LIMPET_PRESET": "lan", "LIMPET_GRACE": "5m",
		"LIMPET_SHARED_LOCALS_MAX": "7", "LIMPET_SHARED_LOCALS_BYTES_MAX": "5000000000", "LIMPET_SHARED_LOCALS_IDLE": "90s",
	}
	for name, value := range given {
		t.Setenv(name, value)
	}
	c, err := ConfigFromEnv()
	want := Config{
		ID: "gpu/1", Join: []string{"limpet-servers:7946", "10.0.0.12:7946"}, JoinTimeout: -time.Second, Secret: "hush", Slots: 8,
		StickyRunsMax: 100, Labels: map[string]string{"gpu": "a100", "zone": "b=c"}, Pool: "gpu", BindAddress: ":7081",
		GossipAddress: ":7946", AdvertiseHost: "10.1.2.3", Preset: cluster.LANConfig(), Grace: 5 * time.Minute,
		SharedLocalsMax: 7, SharedLocalsBytesMax: 5_000_000_000, SharedLocalsIdle: 90 * time.Second,
	}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, %v", c, err)
	}
	given["LIMPET_SECRET"] = "hush"
	for _, v := range Environment() {
		if given[v.Name] == "" {
			t.Errorf("%s is not tried here", v.Name)
		}
	}
}

func TestConfigFromEmptyEnv(t *testing.T) {
	for _, v := range Environment() {
		t.Setenv(v.Name, "")
	}
	if c, err := ConfigFromEnv(); err != nil || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("LIMPET_GRACE", "0s")
	t.Setenv("LIMPET_SECRET", "hush")
	t.Setenv("LIMPET_SHARED_LOCALS_IDLE", "0s")
	if c, err := ConfigFromEnv(); err != nil || c.Grace != NoGrace || c.SharedLocalsIdle != NoIdle || c.Secret != "hush" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestConfigFromBadEnvNamesEveryVariable(t *testing.T) {
	for name, value := range map[string]string{
		"LIMPET_JOIN_TIMEOUT": "soon", "LIMPET_SECRET": "hush", "LIMPET_SECRET_FILE": "/does/not/exist", "LIMPET_SLOTS": "many",
		"LIMPET_STICKY_RUNS_MAX": "1.5", "LIMPET_LABELS": "gpu", "LIMPET_PRESET": "fast", "LIMPET_GRACE": "5",
	} {
		t.Setenv(name, value)
	}
	_, err := ConfigFromEnv()
	if messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LIMPET_JOIN_TIMEOUT: ", "both LIMPET_SECRET and LIMPET_SECRET_FILE", "LIMPET_SECRET_FILE: open /does/not/exist",
		`LIMPET_SLOTS: "many" is not a number`, "LIMPET_STICKY_RUNS_MAX: ", `LIMPET_LABELS: "gpu" is not key=value`, "LIMPET_PRESET: ", "LIMPET_GRACE: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q", want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Error("the error tells the secret")
	}
	if _, err := labels("a=1,a=2"); err == nil || !strings.Contains(err.Error(), `key "a" is given twice`) {
		t.Error(err)
	}
}
