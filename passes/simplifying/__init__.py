"""Rewrites that keep values and remove work, and conversions of types."""
