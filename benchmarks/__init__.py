"""Measurements: ratios in one process, alternating, medians, against named peers. `make bench` prints them all."""
