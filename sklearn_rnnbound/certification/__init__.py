"""From a fitted network and its evidence to bounds and reports."""
