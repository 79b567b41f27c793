"""Rotary embedding and the way from a packed projection to queries and caches: what the CPU's kernels compute too."""

from __future__ import annotations

from graphwright.ir.dialects.cpu import rotary

rotary_table = rotary.rotary_table.alike("cuda.rotary_table")
rotary_embedding = rotary.rotary_embedding.alike("cuda.rotary_embedding")
rotary_append = rotary.rotary_append.alike("cuda.rotary_append")
