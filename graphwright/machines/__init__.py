"""Machines: named, measured, and checked for what is installed."""
