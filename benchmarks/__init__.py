"""Benchmarks of the bridge, as ratios to peers measured in the same run: ``python -m benchmarks``."""
