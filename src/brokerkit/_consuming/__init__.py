"""Consuming one source: from a batch of deliveries through lanes and handlers to settlement. `_consumer` is the way in."""
