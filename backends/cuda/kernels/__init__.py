"""The bodies of kernels, in Triton. Importing them needs Triton; grids have one axis, from which programs find their
place."""
