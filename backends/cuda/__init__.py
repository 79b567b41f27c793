"""Machine code for NVIDIA GPUs: kernels in Triton, compiled ahead, and a plan of launches for the driver."""
