"""Changes of several weights at once that leave what a program computes as it is: scales and rotations moved between
weights, through the graph."""

from graphwright.passes.quantization.weight_folds.channel_scales import ChannelFold, ChannelFolds
from graphwright.passes.quantization.weight_folds.hadamard import hadamard, rotation
from graphwright.passes.quantization.weight_folds.residual_stream import ResidualStream
from graphwright.passes.quantization.weight_folds.scale_flow import Blocked
from graphwright.passes.quantization.weight_folds.weight_changes import WeightChanges

__all__ = ["Blocked", "ChannelFold", "ChannelFolds", "ResidualStream", "WeightChanges", "hadamard", "rotation"]
