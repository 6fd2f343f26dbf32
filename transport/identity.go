package transport

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// serverIDFile lies in the data directory, so that a node that lost its disk is a
// new server: it must not vote as the one that had promised its vote, or had
// stored what it has forgotten.
const serverIDFile = "server-id"

// openServerID returns the raft id of the node in dir, name/incarnation. It makes
// one if the directory is new, and refuses a directory of another node.
func openServerID(dir, name string) (raft.ServerID, error) {
	path := filepath.Join(dir, serverIDFile)
	data, err := os.ReadFile(path)
	if err == nil {
		id := raft.ServerID(strings.TrimSpace(string(data)))
		if nodeName(id) != name {
			return "", fmt.Errorf("%s belongs to node %q, not to %q", dir, nodeName(id), name)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	id := raft.ServerID(name + "/" + randomHex(4))
	return id, writeSynced(path, []byte(id+"\n"))
}

// clusterIDFile keeps the identity of the cluster that the node belongs to. The
// log holds it too, but a node that restarts must know strangers from kin before
// it has replayed that.
const clusterIDFile = "cluster-id"

// readClusterID returns the identity kept in dir, "" if there is none yet.
func readClusterID(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, clusterIDFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

func writeClusterID(dir, id string) error {
	return writeSynced(filepath.Join(dir, clusterIDFile), []byte(id+"\n"))
}

// newClusterID draws the identity of a new cluster.
func newClusterID() string { return randomHex(16) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// writeSynced writes a file so that it is there, whole, after a power cut.
func writeSynced(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
