"""From whole sequences to a KV cache, and the phases that a cache makes."""
