package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is what the toolchain recorded of this binary.
type buildVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = orDefault(info.Main.Version, v.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v buildVersion) String() string {
	return fmt.Sprintf("%s %s %s %s", v.Version, orDefault(v.Revision, "(no revision)"), v.Go, v.Platform)
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  limpet version --json",
		Args:    cobra.NoArgs,
		RunE: c.does(func(context.Context, []string) error {
			v := readVersion()
			if c.json {
				encoder := json.NewEncoder(c.out.raw())
				encoder.SetIndent("", "  ")
				return encoder.Encode(v)
			}
			c.out.printf("limpet %s\n", v)
			return nil
		}),
	}
}
