"""Where ONNX Runtime puts the nodes of a model on a machine with a GPU, told from the table of its CUDA kernels."""

from graphwright.backends.onnx.placement.kernels import cuda_kernels
from graphwright.backends.onnx.placement.predict import Placement, predict

__all__ = ["Placement", "cuda_kernels", "predict"]
