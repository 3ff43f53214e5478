package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// fileBytesMax is far more than any configuration needs.
const fileBytesMax = 1 << 20

// file is a file of settings, by key.
type file struct {
	path  string
	nodes map[string]*yaml.Node
}

// readFile reads and checks a whole file; it reports every fault of its keys.
// An empty path is an empty file.
func readFile(path string) (file, error) {
	f := file{path: path, nodes: map[string]*yaml.Node{}}
	if path == "" {
		return f, nil
	}
	info, data, err := load(path)
	if err != nil {
		return f, messages.Errorf(messages.CodeInvalidArgument, "configuration: %w", err)
	}
	if err := f.parse(data); err != nil {
		return f, err
	}
	for _, s := range Table {
		node := f.nodes[s.Key()]
		if node == nil || !s.hidden && (!s.url || Redact(node.Value) == node.Value) {
			continue
		}
		if err := cluster.CheckPrivate(path, info); err != nil {
			return f, messages.Errorf(messages.CodeInvalidArgument, "%s:%d: it holds %s: %w", path, node.Line, s.Key(), err)
		}
	}
	return f, nil
}

func load(path string) (fs.FileInfo, []byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, fileBytesMax+1))
	if err == nil && len(data) > fileBytesMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, fileBytesMax)
	}
	return info, data, err
}

// parse fills the nodes.
func (f *file) parse(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && !errors.Is(decoder.Decode(&second), io.EOF) {
		err = errors.New("more than one document")
	}
	if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "%s: %s", f.path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil // nothing but comments
	}
	if root.Kind != yaml.MappingNode {
		return messages.Errorf(messages.CodeInvalidArgument, "%s:%d: not a list of `key: value`", f.path, root.Line)
	}
	var faults []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch {
		case !slices.Contains(keys(), key.Value):
			faults = append(faults, fmt.Errorf("%s:%d: unknown key %q%s", f.path, key.Line, key.Value, didYouMean(key.Value)))
		case f.nodes[key.Value] != nil:
			faults = append(faults, fmt.Errorf("%s:%d: %s is given twice", f.path, key.Line, key.Value))
		default:
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			f.nodes[key.Value] = value
		}
	}
	return invalid(faults)
}

// invalid is the error of all faults, nil if there are none.
func invalid(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	return messages.Errorf(messages.CodeInvalidArgument, "%w", errors.Join(faults...))
}

func keys() []string {
	var all []string
	for _, s := range Table {
		if key := s.Key(); key != "" {
			all = append(all, key)
		}
	}
	return all
}

// didYouMean names the key that was probably meant, if one comes near.
func didYouMean(key string) string {
	best := messages.Nearest(key, keys())
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
