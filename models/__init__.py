"""Builders of published networks."""
