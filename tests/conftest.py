"""In continuous integration (CI=true) a skipped test is a failure, unless its reason stands in `allowed_skips.txt`."""

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from graphwright.runtime import cores

# The suite runs in as many processes as there are cores: torch's own threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests compile is kept in the working copy: for the tests that follow, in every process, and for the next run.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parent.parent / "build" / "cache")
# After a step TVM's threads look for work 300000 times before they sleep: seconds in which another test has no core.
os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")
# Modules of torch and transformers are a million objects: to look through them for cycles often finds nothing.
gc.set_threshold(100_000, 20, 20)

ALLOWED_FILE = Path(__file__).parent / "allowed_skips.txt"


@pytest.fixture(autouse=True, scope="session")
def cpus_for_three_threads() -> Generator[None]:
    """What is tested on three threads is tested so on smaller machines too, where a session would be refused them."""
    with pytest.MonkeyPatch.context() as patch:
        most = max(3, cores.usable_cpus())
        patch.setattr(cores, "usable_cpus", lambda: most)
        yield


@pytest.fixture(autouse=True)
def torch_as_found() -> Generator[None]:
    """A test, or what it calls, that leaves torch in another mode is the one to fail, not one that runs after it."""
    yield
    # Not every test imports torch, and some hold that nothing does.
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    found = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    assert found == (True, False, torch.float32), f"left behind (gradients, inference mode, default type): {found}"


def _once(look: Callable[[str], Iterable[object]]) -> Callable[[str], Sequence[object]]:
    @cache
    def found(package: str) -> Sequence[object]:
        return tuple(look(package))

    return found


@pytest.fixture(autouse=True)
def captures_are_kept() -> None:
    """Tests take the captures of each other, though all of them have had transformers in hand."""
    origin: Any = sys.modules.get("graphwright.ir.origin")
    if origin is not None and not hasattr(origin._library_source, "cache_info"):
        origin.runs_our_code_alone = lambda: True
        # Nobody edits the libraries while tests run, and to look at all their files takes a tenth of a second.
        origin._library_source = _once(origin._library_source)


class SkipGuard:
    """Collects the reasons for skips, and fails the run over those that are not allowed."""

    def __init__(self, allowed: set[str]) -> None:
        self._allowed = allowed
        self._refused: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.longrepr)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for reason, count in self._refused.items():
            terminalreporter.write_line(
                f"ERROR: {count} skipped, not allowed in {ALLOWED_FILE.name}: {reason}", red=True
            )

    def _note(self, representation: object) -> None:
        # (file, line, "Skipped: reason") from pytest itself.
        reason = cast("tuple[object, ...]", representation)[2] if isinstance(representation, tuple) else representation
        reason = str(reason).removeprefix("Skipped: ")
        if reason not in self._allowed:
            self._refused[reason] += 1


def pytest_configure(config: pytest.Config) -> None:
    # Workers of pytest-xdist report to the main process, which alone decides.
    if os.environ.get("CI") == "true" and not hasattr(config, "workerinput"):
        lines = ALLOWED_FILE.read_text(encoding="utf-8").splitlines()
        config.pluginmanager.register(SkipGuard({line for line in lines if line and not line.startswith("#")}))
