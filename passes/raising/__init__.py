"""Raising: what was spelt in elementwise ops becomes the op that it means."""
