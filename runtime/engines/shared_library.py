"""Whether the file of a shared library holds what the system will map of it.

The system maps a file that is cut short like any other, and ends the process that touches what is not there. The layout
is that of ELF for 64 bits, little endian (System V ABI, "Object Files").
"""

import struct
from pathlib import Path

from graphwright.runtime.errors import SessionError

_HEADER = struct.Struct("<4sBB26xQ14xHH")
"""Magic number, class, byte order; where the table of segments begins, the size of an entry, and how many there are."""
_SEGMENT = struct.Struct("<I4xQ16xQ")
"""Its type, and where its bytes begin, and how many there are."""


def check_segments(path: Path) -> None:
    """Raise SessionError for a file that is no such library, or whose segments reach beyond its end."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(64)
            magic, bits, order, table, entry, count = _HEADER.unpack_from(header)
            if (magic, bits, order) != (b"\x7fELF", 2, 1) or entry < _SEGMENT.size:
                raise SessionError(f"{path} is not a shared library for this machine; compile the model again")
            file.seek(table)
            entries = file.read(entry * count)
            ends = [table + entry * count]
            for place in range(0, entry * count, entry):
                _, begin, length = _SEGMENT.unpack_from(entries, place)
                ends.append(begin + length)
    except struct.error:
        raise SessionError(f"{path} is cut short; copy or compile the artifact again") from None
    except OSError as error:
        raise SessionError(f"{path} cannot be read: {error.strerror}") from None
    if max(ends) > size:
        raise SessionError(
            f"{path} is cut short: its segments end at byte {max(ends)}, the file has {size}; "
            "copy or compile the artifact again"
        )
