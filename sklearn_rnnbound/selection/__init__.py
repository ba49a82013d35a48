"""Choice by bounds, and what choice and preprocessing cost a bound."""
