#!/usr/bin/env bash
# Runs the test of torn reads on a copy of the engine that waits between queueing a
# large batch and publishing it. The engine as it is does so for some instructions
# only, and a test would have to be very lucky to look in between.
#
#   torn.sh 5s
set -euo pipefail
cd "$(dirname "$0")/../../.."

copy=$(mktemp -d)
trap 'chmod -R u+w "$copy"; rm -rf "$copy"' EXIT
cp -r "$(go list -m -f '{{.Dir}}' github.com/cockroachdb/pebble/v2)" "$copy/pebble"
chmod -R u+w "$copy/pebble"
wait='	for start := crtime.NowMono(); b.flushable != nil \&\& start.Elapsed() < 3e6; {\n\t\truntime.Gosched()\n\t}'
sed -i "s|^	// Publish the batch sequence number\.|$wait\n&|" "$copy/pebble/commit.go"
grep -q 'start.Elapsed() < 3e6' "$copy/pebble/commit.go" || { echo "the engine's commit.go has changed: adapt $0"; exit 1; }

cp go.mod go.sum "$copy"
go mod edit -replace "github.com/cockroachdb/pebble/v2=$copy/pebble" "$copy/go.mod"
go test -modfile="$copy/go.mod" -count=1 -timeout 0 -run TestNoReaderSeesAPartOfAnOperation -v ./internal/store -tearing "$1"
