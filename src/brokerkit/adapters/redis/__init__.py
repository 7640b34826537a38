"""Redis, three ways: streams with groups, lists, and Pub/Sub channels."""
