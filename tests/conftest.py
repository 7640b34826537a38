"""The brokers of `tests.brokers` are fixtures of every test."""

pytest_plugins = ["tests.brokers.fixtures"]
