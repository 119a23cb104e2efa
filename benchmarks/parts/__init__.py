"""What the benchmarks share: scenes, measurements (each in its own process), peers, environment, plots."""
