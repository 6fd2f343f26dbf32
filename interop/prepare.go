package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tools are what the suites need. What is empty could not be had, and missing says
// why.
type tools struct {
	tkcoord string
	python  string // interpreter that has throttlekit-py
	web     bool   // and the web frameworks
	node    string // directory with node_modules
	grpcurl string

	mu      sync.Mutex        // guards missing
	missing map[string]string // by what it is: "python", "web", "node", "grpcurl"
}

func (t *tools) lack(what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missing[what] = err.Error()
}

// prepare builds tkcoord into dir and installs the clients into cache, each in the
// versions that this directory pins. Only what is ours must succeed; the clients
// get at most so much time.
func prepare(ctx context.Context, dir, cache string, most time.Duration) (*tools, error) {
	t := &tools{tkcoord: filepath.Join(dir, "tkcoord"), missing: make(map[string]string)}
	var g errgroup.Group
	ours := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("not done within %v", most))
	defer cancel()
	g.Go(func() error {
		_, err := output(command(ours, "", "go", "build", "-o", t.tkcoord, "./cmd/tkcoord"))
		return err
	})
	g.Go(func() error { t.installPython(ctx, cache); return nil })
	g.Go(func() error { t.installNode(ctx, cache); return nil })
	g.Go(func() error { t.installGrpcurl(ctx, cache); return nil })
	return t, g.Wait()
}

// kept returns the directory in cache that depends on some files, and makes it with
// make unless that has been done before.
func kept(ctx context.Context, cache, name string, files []string, make func(dir string) error) (string, error) {
	h := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join("interop", f))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", f, len(b), b)
	}
	dir := filepath.Join(cache, fmt.Sprintf("%s-%x", name, h.Sum(nil)[:6]))
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", err
	}
	if err := make(dir); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

func (t *tools) installPython(ctx context.Context, cache string) {
	pip := func(dir, file string) error {
		_, err := output(command(ctx, "interop/python", filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", file))
		return err
	}
	dir, err := kept(ctx, cache, "python", []string{"python/requirements.txt"}, func(dir string) error {
		if _, err := output(command(ctx, "", "python3", "-m", "venv", dir)); err != nil {
			return err
		}
		return pip(dir, "requirements.txt")
	})
	if err != nil {
		t.lack("python", err)
		t.lack("web", errors.New("without throttlekit-py"))
		return
	}
	t.python = filepath.Join(dir, "bin", "python")
	// The frameworks lie in the same environment, marked by a directory of their own.
	_, err = kept(ctx, cache, filepath.Base(dir)+"-web", []string{"python/requirements-web.txt"}, func(string) error {
		return pip(dir, "requirements-web.txt")
	})
	if err != nil {
		t.lack("web", err)
		return
	}
	t.web = true
}

func (t *tools) installNode(ctx context.Context, cache string) {
	files := []string{"node/package.json", "node/package-lock.json"}
	dir, err := kept(ctx, cache, "node", files, func(dir string) error {
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join("interop", f))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644); err != nil {
				return err
			}
		}
		_, err := output(command(ctx, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"))
		return err
	})
	if err != nil {
		t.lack("node", err)
		return
	}
	t.node = dir
}

func (t *tools) installGrpcurl(ctx context.Context, cache string) {
	dir, err := kept(ctx, cache, "grpcurl", []string{"grpcurl/go.mod", "grpcurl/go.sum"}, func(dir string) error {
		_, err := output(command(ctx, "interop/grpcurl", "go", "build", "-o", filepath.Join(dir, "grpcurl"), "github.com/fullstorydev/grpcurl/cmd/grpcurl"))
		return err
	})
	if err != nil {
		t.lack("grpcurl", err)
		return
	}
	t.grpcurl = filepath.Join(dir, "grpcurl")
}

// inRepository fails unless the working directory is the root of the repository.
func inRepository() error {
	b, err := os.ReadFile("go.mod")
	if err != nil || !strings.HasPrefix(string(b), "module github.com/tkcoord/tkcoord\n") {
		return errors.New("run it in the root of the repository")
	}
	return nil
}
