"""Planted faults: bugs that passes could have, to see whether the proof of passes catches them and names the pass."""
