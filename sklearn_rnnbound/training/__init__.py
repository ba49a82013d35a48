"""Training: data on a device, one loop, constraints and noise."""
