"""Clusters take half a minute to start: only the full form has them."""

from tests.chaos import FULL

collect_ignore = [] if FULL else ["test_clusters.py", "test_redis_clusters.py"]
