#!/usr/bin/env bash
# README's first command, on a live process: the tool must show that process's memory.
source "$(dirname "$0")/common.sh"
cargo build --quiet --release -p folio-cli
sleep 600 &
pid=$!
trap 'kill $pid' EXIT
sleep 0.3
shown=$(cargo run --quiet --release -p folio-cli -- map "$pid")
echo "$shown"
grep -q sleep <<<"$shown"
