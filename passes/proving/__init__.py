"""Proof of a pipeline: after every pass the program is run beside what it was, and must say the same."""

from graphwright.passes.proving.prover import InterpreterProver
from graphwright.passes.proving.result import Proof, ProofError, Prover

__all__ = ["InterpreterProver", "Proof", "ProofError", "Prover"]
