"""The core on virtual time, against simulated brokers: a seed decides everything. See docs/simulation.md."""
