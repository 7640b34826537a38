"""Plausible events without their producer, for demonstrations and load."""
