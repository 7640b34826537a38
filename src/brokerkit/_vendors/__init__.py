"""Everything that belongs to one vendor: events, typed `on`, simulation, gateway and sources."""
