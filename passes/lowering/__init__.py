"""Lowering: passes from the ops of a captured program down to those of a target's dialect, one room for each target."""
