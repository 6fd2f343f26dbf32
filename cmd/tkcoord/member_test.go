package main

import (
	"strings"
	"testing"
)

func TestMemberList(t *testing.T) {
	c := startCluster(t, 4)
	c.golden(c.on("member", "list"), "member-list")
	c.golden(c.on("member", "list", "-o", "json"), "member-list.json")
}

func TestMemberTransfer(t *testing.T) {
	c := startCluster(t, 3)
	if r := c.on("member", "transfer"); r.stdout != "leader: n2 at "+c.nodes[1].addr+", term 4\n" {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
	c.golden(c.on("member", "transfer", "n3", "-o", "json"), "member-transfer.json")
	c.nodes[2].forgetful = true
	if r := c.on("member", "transfer"); r.stdout != "leader: n1 at "+c.nodes[0].addr+", term 3\n" {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
	c.on("member", "transfer", "n9").wants(t, exitFailed, `tkcoord: member transfer: node "n9": no such member\n`)
}

func TestMemberRemove(t *testing.T) {
	c := startCluster(t, 4)
	addr := c.nodes[0].addr
	question := `n3 is a voter. The cluster has 3 voters and tolerates the loss of 1; without it, of 0 of 2. Remove it\? \[y/N\] `
	tests := []struct {
		name, stdin, args string
		code              int
		stderr            string
	}{
		{"unknown", "y\n", "n9", exitFailed, `tkcoord: member remove: no member is named "n9" \(tkcoord member list names them\)\n`},
		{"not confirmed", "no\n", "n3", exitFailed, question + `tkcoord: member remove: not confirmed: nothing was changed \(--yes does not ask\)\n`},
		{"nobody there", "", "n3", exitFailed, question + `\ntkcoord: member remove: not confirmed: .*\n`},
		{"no vote", "y\n", "n4", exitDone, `n4 has no vote. Remove it\? \[y/N\] `},
		{"confirmed", "y\n", "n3", exitDone, question},
		{"without asking", "", "n2 --yes", exitDone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append(strings.Fields("member remove --addr "+addr), strings.Fields(tt.args)...)
			r := tkcoordStdin(t, strings.NewReader(tt.stdin), args...)
			r.wants(t, tt.code, tt.stderr)
			if node := strings.Fields(tt.args)[0]; tt.code == exitDone && r.stdout != "removed "+node+"\n" {
				t.Errorf("got %q", r.stdout)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	c := startCluster(t, 3)
	r := c.on("digest")
	r.wants(t, exitDone, "")
	c.golden(r, "digest")
	c.set(func() { c.odd = 1 })
	r = c.on("digest", "-o", "json")
	r.wants(t, exitFailed, `tkcoord: digest: the replicas differ at index 1 \(tkcoord status shows the alarm\)\n`)
	c.golden(r, "digest-odd.json")
}
