"""Publishing: targets, the synchronous front, and paced publishing."""
