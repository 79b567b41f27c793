"""Measures artifacts for GPUs: `bundle` where they are compiled, `run` on a machine with a GPU."""
