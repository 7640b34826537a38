"""Handlers and how they are registered."""
