"""Benchmarks: each operator beside its peers in the same run, the error check first."""
