"""Consuming one source: from a batch of deliveries through lanes and handlers to settlement. Start with `_consumer`."""
