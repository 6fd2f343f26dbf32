package edge

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instrument makes the instruments. All of them are read from Stats when they are
// collected, so requests pay nothing for them. None carries a key.
func (e *Edge) instrument(m metric.Meter) error {
	if m == nil {
		return nil
	}
	var errs []error
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return g
	}
	spent := counter("tkcoord.edge.spent", "{credit}", "Credits that admissions took, by policy.")
	denied := counter("tkcoord.edge.denied", "{request}", "Requests denied, by policy.")
	shadowed := counter("tkcoord.edge.shadowed", "{request}", "Denied requests let pass in shadow mode, by policy.")
	failed := counter("tkcoord.edge.failed", "{request}", "Requests decided by the fail policy, by policy and outcome.")
	held := gauge("tkcoord.edge.held", "{credit}", "Credits in hand, by policy.")
	exchanges := counter("tkcoord.edge.exchanges", "{exchange}", "Exchanges with the coordinator, by whether they were answered.")
	keys := gauge("tkcoord.edge.keys", "{key}", "Keys in the table.")
	away := gauge("tkcoord.edge.away", "1", "1 while the coordinator is away.")
	crowded := counter("tkcoord.edge.too_many_keys", "{request}", "Requests for whose key there was no room.")
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := e.Stats()
		for _, p := range s.Policies {
			by := metric.WithAttributes(attribute.String("policy", p.Policy))
			o.ObserveInt64(spent, p.Spent, by)
			o.ObserveInt64(denied, p.Denied, by)
			o.ObserveInt64(shadowed, p.Shadowed, by)
			o.ObserveInt64(held, p.Held, by)
			for _, f := range []struct {
				outcome string
				n       int64
			}{{"open", p.FailedOpen}, {"closed", p.FailedClosed}} {
				o.ObserveInt64(failed, f.n, by, metric.WithAttributes(attribute.String("outcome", f.outcome)))
			}
		}
		o.ObserveInt64(exchanges, int64(s.Exchanges), metric.WithAttributes(attribute.Bool("answered", true)))
		o.ObserveInt64(exchanges, int64(s.Failures), metric.WithAttributes(attribute.Bool("answered", false)))
		o.ObserveInt64(keys, int64(s.Keys))
		o.ObserveInt64(crowded, int64(s.TooManyKeys))
		var gone int64
		if s.Away {
			gone = 1
		}
		o.ObserveInt64(away, gone)
		return nil
	}, spent, denied, shadowed, failed, held, exchanges, keys, away, crowded)
	if err != nil {
		return fmt.Errorf("register instruments: %w", err)
	}
	e.metrics = func() { _ = reg.Unregister() } // fails only if done already
	return nil
}
