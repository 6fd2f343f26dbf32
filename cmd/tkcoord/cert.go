package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/transport"
)

// certFlags are those of all cert commands.
type certFlags struct {
	dir     string
	cluster string
	days    int
	hosts   []string
}

func newCertCommand(a *cli) *cobra.Command {
	f := &certFlags{dir: ".", cluster: transport.DefaultNodeConfig().Cluster, days: 365}
	cmd := newGroupCommand("cert", "Make certificates for trying TLS", newCertCACommand(a, f), newCertNodeCommand(a, f), newCertClientCommand(a, f))
	cmd.GroupID = groupNodes
	cmd.Long = `Make certificates for trying TLS, and for clusters that have no authority of
their own. The authority's key lies unprotected in the directory: where that
matters, issue certificates with your own authority. A node's certificate has to
carry NODE.CLUSTER.tkcoord and the addresses that clients dial.`
	cmd.Example = `  tkcoord cert ca --dir certs
  tkcoord cert node n1 --dir certs --host 10.0.0.1,n1.example.com
  tkcoord cert client ops --dir certs
  tkcoord status --tls-dir certs --addr 10.0.0.1`
	p := cmd.PersistentFlags()
	p.StringVar(&f.dir, "dir", f.dir, "`directory` of the authority, where the new files go too")
	p.IntVar(&f.days, "days", f.days, "for how many days the certificate is valid, at most as long as the authority")
	_ = cmd.MarkPersistentFlagDirname("dir")
	return cmd
}

func newCertCACommand(a *cli, f *certFlags) *cobra.Command {
	return &cobra.Command{
		Use:               "ca",
		Short:             "Make a certificate authority: ca.pem and ca-key.pem",
		Example:           "  tkcoord cert ca --dir certs --days 3650",
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.settle(a, cmd); err != nil {
				return err
			}
			err := transport.WriteCA(f.dir, f.validity())
			if errors.Is(err, os.ErrExist) {
				return hint(err, "certificates of another authority would not fit those that it issued")
			}
			if err != nil {
				return err
			}
			return a.showFiles(filepath.Join(f.dir, "ca.pem"), filepath.Join(f.dir, "ca-key.pem"))
		},
	}
}

func newCertNodeCommand(a *cli, f *certFlags) *cobra.Command {
	cmd := newIssueCommand(a, f, "node", "Certify a node: node-NAME.pem and node-NAME-key.pem", transport.IssueNode)
	cmd.Example = "  tkcoord cert node n1 --dir certs --host 10.0.0.1,n1.example.com"
	cmd.Flags().StringVar(&f.cluster, "cluster", f.cluster, "`name` of the node's cluster")
	cmd.Flags().StringSliceVar(&f.hosts, "host", nil, "further DNS `names` and IP addresses that the node is reached at, besides localhost")
	return cmd
}

func newCertClientCommand(a *cli, f *certFlags) *cobra.Command {
	cmd := newIssueCommand(a, f, "client", "Certify a client: client-NAME.pem and client-NAME-key.pem", transport.IssueClient)
	cmd.Example = "  tkcoord cert client ops --dir certs"
	return cmd
}

func newIssueCommand(a *cli, f *certFlags, use, short string, issue func(transport.CertRequest) (transport.TLSFiles, error)) *cobra.Command {
	return &cobra.Command{
		Use:               use + " NAME",
		Short:             short,
		Args:              wantArgs(1, 1, "one NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.settle(a, cmd); err != nil {
				return err
			}
			files, err := issue(transport.CertRequest{Dir: f.dir, Cluster: f.cluster, Name: args[0], Hosts: f.hosts, Validity: f.validity()})
			if errors.Is(err, os.ErrNotExist) {
				return hint(err, "make an authority first: tkcoord cert ca --dir %s", f.dir)
			}
			if err != nil {
				return err
			}
			return a.showFiles(files.Cert, files.Key)
		},
	}
}

func (f *certFlags) settle(a *cli, cmd *cobra.Command) error {
	if err := a.opts.settle(cmd); err != nil {
		return err
	}
	if f.days < 1 || f.days > 36_500 {
		return usagef("--days: got %d, want 1 to 36500", f.days)
	}
	return nil
}

func (f *certFlags) validity() time.Duration { return time.Duration(f.days) * 24 * time.Hour }

// showFiles says what was written.
func (a *cli) showFiles(cert, key string) error {
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, struct {
			Cert string `json:"cert"`
			Key  string `json:"key"`
		}{cert, key})
	}
	return a.print("%s", fmt.Sprintln("wrote", cert, "and", key))
}
