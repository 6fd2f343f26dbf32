package reference

import (
	"fmt"
	"strings"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

func leasingRows() []Row {
	const pub, der = Published, Derived
	return []Row{
		leased(2, 4, 2, carryover, pub, Want{Distinct: 31, Generated: 113, Depth: 10, Admitted: 6}),
		leased(2, 4, 2, coupled, pub, Want{Distinct: 8, Generated: 29, Depth: 5, Admitted: 4}),
		leased(3, 6, 3, carryover, pub, Want{Distinct: 441, Generated: 2458, Depth: 18, Admitted: 12}),
		leased(3, 6, 3, coupled, pub, Want{Distinct: 27, Generated: 136, Depth: 7, Admitted: 6}),
		leased(5, 10, 2, carryover, pub, Want{Distinct: 992, Generated: 9441, Depth: 22, Admitted: 15}),
		leased(5, 10, 2, coupled, pub, Want{Distinct: 112, Generated: 1041, Depth: 11, Admitted: 10}),

		leased(1, 8, 2, carryover, der, Want{Distinct: 19, Generated: 37, Depth: 12, Admitted: 9}),
		leased(1, 8, 2, coupled, der, Want{Distinct: 9, Generated: 18, Depth: 9, Admitted: 8}),
		leased(2, 8, 2, carryover, der, Want{Distinct: 55, Generated: 209, Depth: 14, Admitted: 10}),
		leased(2, 8, 2, coupled, der, Want{Distinct: 16, Generated: 61, Depth: 9, Admitted: 8}),
		leased(4, 8, 2, carryover, der, Want{Distinct: 344, Generated: 2593, Depth: 18, Admitted: 12}),
		leased(4, 8, 2, coupled, der, Want{Distinct: 48, Generated: 353, Depth: 9, Admitted: 8}),
		leased(8, 8, 2, carryover, der, Want{Distinct: 8762, Generated: 131281, Depth: 27, Admitted: 16}),
		leased(8, 8, 2, coupled, der, Want{Distinct: 303, Generated: 4057, Depth: 9, Admitted: 8}),
		leased(3, 5, 1, carryover, der, Want{Distinct: 6, Generated: 34, Depth: 6, Admitted: 5}),
		leased(3, 5, 1, coupled, der, Want{Distinct: 6, Generated: 34, Depth: 6, Admitted: 5}),
		leased(3, 6, 3, returning, der, Want{Distinct: 43, Generated: 250, Depth: 7, Admitted: 6}),
		leased(5, 10, 2, returning, der, Want{Distinct: 192, Generated: 2161, Depth: 11, Admitted: 10}),
		leased(4, 12, 4, returning, der, Want{Distinct: 499, Generated: 4265, Depth: 13, Admitted: 12}),
		leased(4, 12, 4, carryover, der, Want{Distinct: 10432, Generated: 80129, Depth: 31, Admitted: 24}),
		leased(4, 12, 4, coupled, der, Want{Distinct: 256, Generated: 1793, Depth: 13, Admitted: 12}),
		leased(4, 8, 4, carryover, der, Want{Distinct: 7202, Generated: 54433, Depth: 27, Admitted: 20}),
		leased(4, 8, 4, coupled, der, Want{Distinct: 81, Generated: 501, Depth: 9, Admitted: 8}),

		// A pool that is no multiple of the batch strands its rest, unless nodes
		// return credits.
		leased(3, 7, 3, carryover, der, Want{Distinct: 441, Generated: 2458, Depth: 18, Admitted: 12}),
		leased(3, 7, 3, coupled, der, Want{Distinct: 27, Generated: 136, Depth: 7, Admitted: 6}),
		leased(3, 7, 3, returning, der, Want{Distinct: 62, Generated: 382, Depth: 9, Admitted: 7}),
	}
}

// federatedRows are rows of leasingRows told of regions; the counts recur.
func federatedRows() []Row {
	return []Row{
		federated(2, 4, 2, coupled, Want{Distinct: 8, Admitted: 4}),
		federated(3, 6, 3, coupled, Want{Distinct: 27, Admitted: 6}),
		federated(5, 10, 2, coupled, Want{Distinct: 112, Admitted: 10}),
		federated(2, 4, 2, carryover, Want{Distinct: 31, Admitted: 6}),
		federated(3, 6, 3, carryover, Want{Distinct: 441, Admitted: 12}),
		federated(5, 10, 2, carryover, Want{Distinct: 992, Admitted: 15}),
	}
}

// A variant is what becomes of credits that are not spent.
type variant struct{ coupled, giveBack bool }

var (
	carryover = variant{}
	coupled   = variant{coupled: true}
	returning = variant{coupled: true, giveBack: true}
)

func (v variant) String() string {
	words := []string{"carryover"}
	if v.coupled {
		words[0] = "coupled"
	}
	if v.giveBack {
		words = append(words, "return")
	}
	return strings.Join(words, "+")
}

func (v variant) model(nodes, limit, batch int, w Words) *Leasing {
	return &Leasing{Nodes: nodes, Limit: limit, Batch: batch, Coupled: v.coupled, Return: v.giveBack, Words: w}
}

func leased(nodes, limit, batch int, v variant, src Source, w Want) Row {
	return Row{
		System: "leasing",
		Size:   fmt.Sprintf("N=%d L=%d B=%d", nodes, limit, batch),
		Rules:  v.String(),
		Source: src,
		Want:   w,
		run:    model.Bind(v.model(nodes, limit, batch, Leased)),
	}
}

func federated(regions, limit, batch int, v variant, w Want) Row {
	return Row{
		System: "federated",
		Size:   fmt.Sprintf("K=%d L=%d B=%d", regions, limit, batch),
		Rules:  v.String(),
		Source: Published,
		Want:   w,
		run:    model.Bind(v.model(regions, limit, batch, Federated)),
	}
}
