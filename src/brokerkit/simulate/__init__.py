"""Plausible events without their producer, for demonstrations and load: `brokerkit.simulate.evenbet` is a poker room."""
