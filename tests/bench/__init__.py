"""Benchmarks: what the product can do, measured beside what it is compared with."""
