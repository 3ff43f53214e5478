// Command kubecheck reads Kubernetes manifests strictly, with the types of
// Kubernetes itself: what those do not know, or what is of another type, is a
// fault.
//
// Data flow: files → documents → the type of their kind → faults on stderr.
//
// Imports nothing of this module.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// kinds are those that may be in a manifest.
var kinds = map[meta.TypeMeta]func() any{
	{APIVersion: "v1", Kind: "Secret"}:                     func() any { return new(core.Secret) },
	{APIVersion: "v1", Kind: "Service"}:                    func() any { return new(core.Service) },
	{APIVersion: "apps/v1", Kind: "StatefulSet"}:           func() any { return new(apps.StatefulSet) },
	{APIVersion: "apps/v1", Kind: "Deployment"}:            func() any { return new(apps.Deployment) },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}: func() any { return new(policy.PodDisruptionBudget) },
}

func main() {
	failed := len(os.Args) < 2
	for _, path := range os.Args[1:] {
		n, err := check(path)
		if err != nil || n == 0 {
			fmt.Fprintf(os.Stderr, "%s: %d objects: %v\n", path, n, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// check returns how many objects a file holds.
func check(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var faults []error
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 0; ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return n, errors.Join(faults...)
		}
		if err != nil {
			return n, err
		}
		var kind *meta.TypeMeta
		if err := strict.Unmarshal(document, &kind); err != nil {
			return n, err
		}
		if kind == nil {
			continue // nothing but comments
		}
		n++
		object, ok := kinds[*kind]
		if !ok {
			faults = append(faults, fmt.Errorf("%s of %q is unknown", kind.Kind, kind.APIVersion))
			continue
		}
		if err := strict.UnmarshalStrict(document, object()); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", kind.Kind, err))
		}
	}
}
