"""Kernels taken apart into stages, and a launch plan of stages printed as one parallel region a step."""
