package edge_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/edge/reservation"
)

func Example() {
	cfg := edge.DefaultConfig()
	cfg.Addresses = []string{"10.0.0.1:7700", "10.0.0.2:7700", "10.0.0.3:7700"}
	e, err := edge.Open(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()

	api := e.Limiter("api")
	d, err := api.Check(context.Background(), "198.51.100.7", 1)
	switch {
	case err != nil:
		fmt.Println("no answer:", err, "and so:", d.Allowed) // as the fail policy says
	case !d.Allowed:
		fmt.Println("try again in", d.RetryAfter)
	}
}

// The tokens of a streamed answer are debited as they are produced. How many it will
// be is not known before, so a reservation is learnt.
func ExampleMeter() {
	var e *edge.Edge // from Open
	ctx := context.Background()
	tokens := e.Meter("tokens-per-day")
	// A question to the cluster for each 50 tokens. With 10 processes they exceed
	// the budget of a day by 10*49 tokens at most.
	if err := tokens.SetBatch(edge.MeterBatch{Size: 50, MaxAge: time.Second}); err != nil {
		log.Fatal(err)
	}
	sizes, err := reservation.New(reservation.DefaultConfig(reservation.Prices{Hold: 1, Overrun: 4}, 0, 4096))
	if err != nil {
		log.Fatal(err)
	}

	answer := func(customer string, stream <-chan string) error {
		if left, known := tokens.Remaining(customer); known && left < sizes.Reserve() {
			return errors.New("the rest of the budget is too small for an answer")
		}
		used := 0
		defer func() { sizes.Observe(float64(used)) }()
		for token := range stream {
			d, err := tokens.Debit(ctx, customer, 1)
			if !d.Allowed {
				return errors.Join(errors.New("the budget is used up"), err)
			}
			used++
			fmt.Print(token)
		}
		return nil
	}
	_ = answer
}

// A limiter that holds credits in steps that are known beforehand.
func ExampleLimiter_SetBatch() {
	var e *edge.Edge // from Open
	l := e.Limiter("api")
	if err := l.SetBatch(edge.Batch{Size: 20, LowWater: 5, ReturnIdle: 10 * time.Second}); err != nil {
		log.Fatal(err)
	}
}
