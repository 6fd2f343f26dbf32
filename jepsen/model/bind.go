package model

import (
	"context"
	"fmt"
)

// A Runner is a model whose type of state is hidden, so that models can stand
// in one table.
type Runner interface {
	Explore(context.Context, Options) (*Result, error)
	Replay(Path) (*Trace, error)
}

// Bind hides the type of a model's states.
func Bind[S fmt.Stringer](m Model[S]) Runner { return bound[S]{m} }

type bound[S fmt.Stringer] struct{ m Model[S] }

func (b bound[S]) Explore(ctx context.Context, opt Options) (*Result, error) {
	return Explore(ctx, b.m, opt)
}

func (b bound[S]) Replay(p Path) (*Trace, error) { return Replay(b.m, p) }
