package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cluster/authority"
	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

const (
	day = 24 * time.Hour
	// Files of an authority, in its directory.
	authorityFile    = "ca.pem"
	authorityKeyFile = "ca.key"
)

func (c *cli) caCommand() *cobra.Command {
	return group("ca", "Make the certificates of servers and workers", c.caInitCommand(), c.caIssueCommand())
}

func (c *cli) caInitCommand() *cobra.Command {
	var dir string
	var valid time.Duration
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an authority that signs the certificates of a cluster",
		Long: `Make an authority that signs the certificates of a cluster: ca.pem, which every
server and worker gets (member-ca-file), and ca.key, which only ` + "`limpet ca issue`" + `
needs: keep it off the machines of the cluster. An authority of your own does as
well: a member is what the one SAN URI of its certificate says.

To change the authority make another one, give every member a file with both
ca.pem in it, then new certificates, and last a file with the new one alone.`,
		Example:     "  limpet ca init --dir limpet-ca",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{takesSettings: takesNone},
		RunE: c.does(func(context.Context, []string) error {
			if valid <= 0 {
				return messages.Errorf(messages.CodeInvalidArgument, "--valid %v: give a time above 0", valid)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return messages.Errorf(messages.CodeInvalidArgument, "%w", err)
			}
			pair, err := authority.New("limpet", valid)
			if err != nil {
				return err
			}
			return c.writePair(filepath.Join(dir, authorityFile), filepath.Join(dir, authorityKeyFile), pair)
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "limpet-ca", "directory for ca.pem and ca.key")
	cmd.Flags().DurationVar(&valid, "valid", 3650*day, "how long the authority holds")
	return cmd
}

func (c *cli) caIssueCommand() *cobra.Command {
	var dir, out string
	var valid time.Duration
	cmd := &cobra.Command{
		Use:   "issue URI",
		Short: "Make the certificate of a server, a worker, or of many",
		Long: `Make the certificate and the key of the member that the URI names:
limpet://server/ID or limpet://worker/ID. In the ID * stands for any characters:
who has the certificate of limpet://worker/gpu-* may be gpu-1 and gpu-2, and
nobody else may. The files are read again when they change, so a new certificate
is put in the place of the old one while the member runs.`,
		Example: `  limpet ca issue limpet://server/s1 --out s1
  limpet ca issue 'limpet://worker/gpu-*' --out gpu --valid 720h`,
		Args:        oneArg("the identity, limpet://server/ID or limpet://worker/ID"),
		Annotations: map[string]string{takesSettings: takesNone},
		RunE: c.does(func(_ context.Context, args []string) error {
			of, err := identity.Parse(args[0])
			switch {
			case err != nil:
				return messages.Errorf(messages.CodeInvalidArgument, "%w", err)
			case valid <= 0:
				return messages.Errorf(messages.CodeInvalidArgument, "--valid %v: give a time above 0", valid)
			case out == "":
				return messages.Errorf(messages.CodeInvalidArgument, "--out is missing: the files are named after it, OUT.pem and OUT.key")
			}
			pair, err := readAuthority(dir)
			if err != nil {
				return messages.Errorf(messages.CodeInvalidArgument, "%w", err)
			}
			a, err := authority.Read(pair)
			if err != nil {
				return messages.Errorf(messages.CodeInvalidArgument, "%s: %w", dir, err)
			}
			issued, err := a.Issue(of, valid)
			if err != nil {
				return err
			}
			return c.writePair(out+".pem", out+".key", issued)
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "limpet-ca", "directory with ca.pem and ca.key")
	cmd.Flags().StringVar(&out, "out", "", "what the files are named after: OUT.pem and OUT.key")
	cmd.Flags().DurationVar(&valid, "valid", 90*day, "how long the certificate holds, at most as long as the authority")
	return cmd
}

// readAuthority reads the files of an authority. The key is refused if everybody can
// read it.
func readAuthority(dir string) (pair authority.Pair, err error) {
	if pair.Certificate, err = os.ReadFile(filepath.Join(dir, authorityFile)); err != nil {
		return pair, err
	}
	pair.Key, err = os.ReadFile(filepath.Join(dir, authorityKeyFile))
	return pair, err
}

// issued is what was written, as JSON.
type issued struct {
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	Serial      string    `json:"serial"`
	Identity    string    `json:"identity,omitempty"`
	Expires     time.Time `json:"expires"`
}

// writePair writes the key for its user alone. The key of an authority is not
// overwritten, and neither is any other: two members must not find half of each.
func (c *cli) writePair(certificate, key string, pair authority.Pair) error {
	for _, f := range []struct {
		path string
		mode fs.FileMode
		data []byte
	}{{key, 0o600, pair.Key}, {certificate, 0o644, pair.Certificate}} {
		if err := writeNew(f.path, f.mode, f.data); err != nil {
			return err
		}
	}
	block, _ := pem.Decode(pair.Certificate)
	made, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	is := issued{Certificate: certificate, Key: key, Serial: made.SerialNumber.Text(16), Expires: made.NotAfter}
	if len(made.URIs) == 1 {
		is.Identity = made.URIs[0].String()
	}
	if c.json {
		encoder := json.NewEncoder(c.out.raw())
		encoder.SetIndent("", "  ")
		return encoder.Encode(is)
	}
	c.out.printf("%s and %s: serial %s, expires %s\n", certificate, key, is.Serial, is.Expires.UTC().Format(time.RFC3339))
	return nil
}

func writeNew(path string, mode fs.FileMode, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return messages.Errorf(messages.CodeInvalidArgument, "%s is there already: nothing is overwritten; move it away, or give another name", path)
	} else if err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "%w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
