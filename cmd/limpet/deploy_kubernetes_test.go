package main

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk/worker"
)

// TestManifestsByTheTypesOfKubernetes reads the examples strictly: an unknown
// field or one of another type fails.
func TestManifestsByTheTypesOfKubernetes(t *testing.T) {
	paths := manifests(t)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "./kubecheck"}, paths...)...)
	cmd.Dir = filepath.Join("..", "..", ".tools")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func manifests(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("deploy/kubernetes/*.yaml")
	if err != nil || len(paths) < 4 {
		t.Fatal(paths, err)
	}
	for i := range paths {
		if paths[i], err = filepath.Abs(paths[i]); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// The parts of manifests that this test looks at; kubecheck looks at the rest.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		ServiceName              string `yaml:"serviceName"`
		Replicas                 int
		MaxUnavailable           int       `yaml:"maxUnavailable"`
		Selector                 yamlValue // of a Service, or matchLabels of others
		Ports                    []struct {
			Name, TargetPort string
			Port             int
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
	StringData map[string]string `yaml:"stringData"`
}

type yamlValue map[string]any

type podSpec struct {
	Grace              int   `yaml:"terminationGracePeriodSeconds"`
	EnableServiceLinks *bool `yaml:"enableServiceLinks"`
	Containers         []struct {
		Args []string
		Env  []struct {
			Name, Value string
			ValueFrom   struct {
				FieldRef struct {
					FieldPath string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
			} `yaml:"valueFrom"`
		}
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		StartupProbe   probe `yaml:"startupProbe"`
		ReadinessProbe probe `yaml:"readinessProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		VolumeMounts   []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name   string
		Secret struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode int    `yaml:"defaultMode"`
			Items       []struct{ Key, Path string }
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	Period  int                         `yaml:"periodSeconds"`
	Failure int                         `yaml:"failureThreshold"`
}

// objects of all manifests by kind and name.
func objects(t *testing.T) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	for _, path := range manifests(t) {
		for _, document := range documents(t, path) {
			var m manifest
			if err := document.Decode(&m); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			all[m.Kind+"/"+m.Metadata.Name] = m
		}
	}
	return all
}

// TestManifestsFitTogether: what one names, another has, and the times and
// names are those of the programs.
func TestManifestsFitTogether(t *testing.T) {
	all := objects(t)
	server, ok := all["StatefulSet/limpet-server"]
	if !ok || len(all) != 8 {
		t.Fatalf("objects: %v", slices.Sorted(maps.Keys(all)))
	}
	for name, m := range all {
		if len(m.Spec.Template.Spec.Containers) > 0 {
			checkWorkload(t, all, name, m)
		}
	}
	container, pod := server.Spec.Template.Spec.Containers[0], server.Spec.Template.Spec
	if grace := time.Duration(pod.Grace) * time.Second; grace <= stopTimeout {
		t.Errorf("a server has %s to stop, and needs up to %s", grace, stopTimeout)
	}
	start := container.StartupProbe
	if wait := time.Duration(start.Period*start.Failure) * time.Second; wait <= defaultOf(t, "store-wait") {
		t.Errorf("a server has %s to start, and waits %s for its store", wait, defaultOf(t, "store-wait"))
	}
	for path, p := range map[string][]probe{"/healthz": {start, container.LivenessProbe}, "/readyz": {container.ReadinessProbe}} {
		for _, p := range p {
			if p.HTTPGet.Path != path || p.HTTPGet.Port != "api" {
				t.Errorf("a probe of %s asks %+v", path, p.HTTPGet)
			}
		}
	}
	if budget := all["PodDisruptionBudget/limpet-server"]; budget.Spec.MaxUnavailable != 1 || server.Spec.Replicas != 3 {
		t.Errorf("%d replicas, of which %d may be missing", server.Spec.Replicas, budget.Spec.MaxUnavailable)
	}
	if members := all["Service/limpet-servers"].Spec; members.ClusterIP != "None" || !members.PublishNotReadyAddresses {
		t.Errorf("servers that start do not find each other: %+v", members)
	}
}

// checkWorkload checks a StatefulSet or Deployment against the rest.
func checkWorkload(t *testing.T, all map[string]manifest, name string, m manifest) {
	t.Helper()
	pod, labels := m.Spec.Template.Spec, m.Spec.Template.Metadata.Labels
	container := pod.Containers[0]
	isServer := slices.Equal(container.Args, []string{"server"})
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Errorf("%s: a Service of the name limpet would set variables that begin with LIMPET_", name)
	}
	if selector := fmt.Sprint(m.Spec.Selector["matchLabels"]); selector != fmt.Sprint(labels) {
		t.Errorf("%s selects %s of pods with %v", name, selector, labels)
	}
	if m.Kind == "StatefulSet" {
		if service, ok := all["Service/"+m.Spec.ServiceName]; !ok || fmt.Sprint(service.Spec.Selector) != fmt.Sprint(labels) || service.Spec.ClusterIP != "None" {
			t.Errorf("%s is of service %q: %+v", name, m.Spec.ServiceName, service.Spec)
		}
	}
	if !isServer && time.Duration(pod.Grace)*time.Second <= 40*time.Second {
		t.Errorf("%s has %d s to stop: 30 s of LIMPET_WORKER_GRACE and 10 s to leave do not fit", name, pod.Grace)
	}
	env := map[string]string{}
	for _, e := range container.Env {
		if env[e.Name] = e.Value; e.ValueFrom.FieldRef.FieldPath != "" {
			env[e.Name] = "field " + e.ValueFrom.FieldRef.FieldPath
		}
	}
	checkEnvironment(t, name, isServer, env)
	ports := map[string]int{}
	for _, p := range container.Ports {
		ports[p.Name] = p.ContainerPort
	}
	prefix := prefixOf(isServer)
	host, port, _ := strings.Cut(env[prefix+"JOIN"], ":")
	if service := all["Service/"+host]; !slices.ContainsFunc(service.Spec.Ports, func(p struct {
		Name, TargetPort string
		Port             int
	}) bool {
		return fmt.Sprint(p.Port) == port
	}) || env[prefix+"GOSSIP"] != fmt.Sprintf(":%d", ports["gossip"]) || env[prefix+"BIND"] != fmt.Sprintf(":%d", ports["actors"]) {
		t.Errorf("%s: ports %v, environment %v", name, ports, env)
	}
	volume := pod.Volumes[0]
	if all["Secret/"+volume.Secret.SecretName].StringData["secret"] == "" || volume.Secret.DefaultMode != 0o440 ||
		env["LIMPET_SECRET_FILE"] != container.VolumeMounts[0].MountPath+"/secret" || isServer == (len(volume.Secret.Items) == 1) {
		t.Errorf("%s: %+v", name, volume)
	}
}

// prefixOf is how the names of variables begin that are of one role only.
func prefixOf(isServer bool) string {
	if isServer {
		return "LIMPET_"
	}
	return "LIMPET_WORKER_"
}

// checkEnvironment gives it to the program that it is for.
func checkEnvironment(t *testing.T, name string, isServer bool, env map[string]string) {
	t.Helper()
	if env[prefixOf(isServer)+"ADVERTISE_HOST"] != "field status.podIP" || !isServer && env["LIMPET_WORKER_ID"] != "field metadata.name" {
		t.Errorf("%s: %v", name, env)
	}
	server, workers := variables()
	for variable := range env {
		if isServer && !slices.Contains(server, variable) || !isServer && !slices.Contains(workers, variable) {
			t.Errorf("%s: %s is of no use to it", name, variable)
		}
	}
	secret, store := filepath.Join(t.TempDir(), "secret"), filepath.Join(t.TempDir(), "store")
	writeFile(t, secret, "a secret of the test", 0o440)
	writeFile(t, store, "memory", 0o440)
	given := maps.Clone(env)
	given[prefixOf(isServer)+"ADVERTISE_HOST"], given["LIMPET_SECRET_FILE"] = "10.1.2.3", secret
	if isServer {
		given["LIMPET_STORE_FILE"] = store
		if r := execute(t.Context(), given, "config"); r.code != 0 || strings.Count(r.out, "LIMPET_") < len(env) {
			t.Errorf("%s: %+v", name, r)
		}
		return
	}
	given["LIMPET_WORKER_ID"] = name
	for _, v := range worker.Environment() {
		t.Setenv(v.Name, given[v.Name])
	}
	if c, err := worker.ConfigFromEnv(); err != nil || c.ID != name || c.JoinTimeout >= 0 {
		t.Errorf("%s: %+v, %v", name, c, err)
	}
}
