"""Tools on top of a bus."""
