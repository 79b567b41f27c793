"""What a command does when it is told to end: clean up, then exit as shells expect it, with 128 and the signal."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import typer

ENDING = signal.SIGTERM, signal.SIGHUP


class _Ended(BaseException):
    """Raised where a signal comes; nothing but the end of the command catches it."""


@contextmanager
def clean_exit_on_signals() -> Generator[None]:
    """SIGTERM and SIGHUP unwind the body, so that what is half written is removed; a second one ends at once.

    A signal that is ignored (`nohup`) stays so. Only the main thread can hear signals; elsewhere this does nothing.
    """
    heard: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        heard.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise _Ended

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDING if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    except BaseException as error:
        # Whatever the signal became on its way through other libraries.
        if heard:
            raise SystemExit(128 + heard[0]) from None
        if isinstance(error, (KeyboardInterrupt, typer.Abort)):
            raise SystemExit(128 + signal.SIGINT) from None
        raise
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
