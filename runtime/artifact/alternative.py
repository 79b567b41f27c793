"""The same program for other machines, in the same artifact."""

from graphwright.runtime.artifact.strict import Strict


class Alternative(Strict):
    """Libraries of the program's functions for another CPU; all else is as the program says.

    `target` is the name by which the CPU was asked for. The other fields are those of the program, and `encoder_file`
    is the encoder's `file`.
    """

    target: str
    dialect: str
    file: str
    encoder_file: str | None = None
    cpu_features: tuple[str, ...] = ()
    untuned: bool = False
