"""Quantization of a program, calibrated and measured."""
