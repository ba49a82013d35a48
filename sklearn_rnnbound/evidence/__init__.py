"""What bounds need of data: sums over a sample, its spectrum, trials of other networks."""
