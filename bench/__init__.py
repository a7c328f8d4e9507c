"""Reproducible measurements; `make bench` prints one table and writes build/bench.json."""
