package fsm

import (
	"encoding/binary"
	"math"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// maxWord bounds the names of strategies, modes, meters and algorithms.
const maxWord = 64 // bytes

// appendPolicy writes every field, those that the kind does not use too, so that
// equal policies are equal bytes. Doubles are written bit by bit.
func appendPolicy(b []byte, p *policy.Policy) []byte {
	b = appendString(b, p.Name)
	b = append(b, byte(p.Kind))
	b = appendString(b, string(p.Strategy))
	b = binary.AppendUvarint(b, uint64(p.Limit))
	b = appendCadence(b, p.Cadence)
	b = binary.AppendUvarint(b, uint64(p.MaxKeys))
	b = appendParams(b, &p.Rate)
	b = appendTier(b, &p.Tier)
	b = binary.AppendUvarint(b, uint64(p.Batch))
	b = appendString(b, string(p.Meter))
	return appendGuard(b, &p.Guard)
}

func (r *reader) policy() policy.Policy {
	return policy.Policy{
		Name:     r.string(policy.MaxNameLen),
		Kind:     policy.Kind(r.u8()),
		Strategy: policy.Strategy(r.string(maxWord)),
		Limit:    r.credits(),
		Cadence:  r.cadence(),
		MaxKeys:  r.int(),
		Rate:     r.params(),
		Tier:     r.tier(),
		Batch:    r.int(),
		Meter:    policy.MeterName(r.string(maxWord)),
		Guard:    r.guard(),
	}
}

func appendCadence(b []byte, c escrow.Cadence) []byte {
	b = append(b, byte(c.Kind))
	b = binary.AppendVarint(b, int64(c.Period))
	b = binary.AppendVarint(b, int64(c.Anchor))
	b = binary.AppendVarint(b, int64(c.OffsetMinutes))
	return binary.AppendVarint(b, int64(c.WeekStart))
}

func (r *reader) cadence() escrow.Cadence {
	return escrow.Cadence{
		Kind:          escrow.Kind(r.u8()),
		Period:        clock.Millis(r.varint()),
		Anchor:        clock.Millis(r.varint()),
		OffsetMinutes: int32(r.varint()),
		WeekStart:     int32(r.varint()),
	}
}

func appendParams(b []byte, p *strategy.Params) []byte {
	b = appendString(b, string(p.Name))
	for _, x := range [...]uint64{
		math.Float64bits(p.Limit), math.Float64bits(p.Period), math.Float64bits(p.Burst),
		math.Float64bits(p.Capacity), math.Float64bits(p.RefillPerSec),
	} {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	b = binary.AppendUvarint(b, uint64(p.Buckets))
	b = appendCadence(b, p.Cadence)
	return appendBool(b, p.Rolling)
}

func (r *reader) params() strategy.Params {
	return strategy.Params{
		Name:         strategy.Name(r.string(maxWord)),
		Limit:        math.Float64frombits(r.u64()),
		Period:       math.Float64frombits(r.u64()),
		Burst:        math.Float64frombits(r.u64()),
		Capacity:     math.Float64frombits(r.u64()),
		RefillPerSec: math.Float64frombits(r.u64()),
		Buckets:      r.int(),
		Cadence:      r.cadence(),
		Rolling:      r.bool(),
	}
}

func appendTier(b []byte, t *policy.Tier) []byte {
	b = appendString(b, string(t.Mode))
	b = binary.AppendUvarint(b, uint64(t.Batch))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(t.LowWater))
	b = appendBool(b, t.WindowCoupled)
	return binary.AppendVarint(b, int64(t.ReturnIdleAfter))
}

func (r *reader) tier() policy.Tier {
	return policy.Tier{
		Mode:            policy.Mode(r.string(maxWord)),
		Batch:           r.int(),
		LowWater:        math.Float64frombits(r.u64()),
		WindowCoupled:   r.bool(),
		ReturnIdleAfter: clock.Millis(r.varint()),
	}
}

func appendGuard(b []byte, c *concurrency.Config) []byte {
	for _, n := range [...]int{c.MinLimit, c.MaxLimit, c.InitialLimit, c.RTTWindow} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = appendString(b, string(c.Algorithm))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Smoothing))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Tolerance))
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(c.BackoffRatio))
}

func (r *reader) guard() concurrency.Config {
	return concurrency.Config{
		MinLimit:     r.int(),
		MaxLimit:     r.int(),
		InitialLimit: r.int(),
		RTTWindow:    r.int(),
		Algorithm:    concurrency.Algorithm(r.string(maxWord)),
		Smoothing:    math.Float64frombits(r.u64()),
		Tolerance:    math.Float64frombits(r.u64()),
		BackoffRatio: math.Float64frombits(r.u64()),
	}
}
