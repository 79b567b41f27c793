"""Where only what runs artifacts is installed (`.[cpu]`): what works, and what is said of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
STORY = "examples/models/storyteller"
SCRIPT = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from graphwright.cli import main

def run(arguments):
    output, errors, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            errors.write(f"{type(error).__name__}: {error}")
    return status, output.getvalue(), errors.getvalue()

json.dump([run(arguments) for arguments in json.load(sys.stdin)], sys.__stdout__)
"""

REFUSED = {
    "trace": [STORY],
    "opt": [STORY, "--passes", "canonicalize"],
    "explain": [STORY],
    "quantize": [STORY, "--to", "w8", "-o", "OUT.gw"],
    "report": [STORY, "-o", "OUT.html"],
    "compile": [STORY, "-o", "OUT"],
    "export": [STORY, "-o", "OUT"],
    "generate": [STORY, "Once"],
    "evaluate": [STORY, "--text", "README.md"],
}
WORKING = {
    "inspect": ["ARTIFACT"],  # first, so that no other command has declared the ops that it reads
    "passes": [],
    "generate": ["ARTIFACT", "Once", "--max-new-tokens", "2", "--temperature", "0"],
    "evaluate": ["ARTIFACT", "--text", "CHANGELOG.md", "--length", "32", "--rows", "1"],
    "machine": ["h100"],
    "doctor": [],
}


@dataclass(frozen=True)
class Outcome:
    status: int | None
    output: str
    errors: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: ours, and of those installed here only what the extra `cpu` asks for, all as links."""
    site = tmp_path_factory.mktemp("runtime-only")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pending = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    seen: set[str] = set()
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        distribution = metadata.distribution(requirement.name)
        pending += distribution.requires or []
        _link(site, distribution)
    (site / "graphwright").symlink_to(ROOT / "graphwright")
    described = site / f"graphwright-{project['version']}.dist-info"
    described.mkdir()
    lines = ("Metadata-Version: 2.1", "Name: graphwright", f"Version: {project['version']}", "")
    (described / "METADATA").write_text("\n".join(lines), encoding="utf-8")
    return site


def _link(site: Path, distribution: metadata.Distribution) -> None:
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        target = Path(str(distribution.locate_file(name)))
        if target.exists() and not (site / name).exists():
            (site / name).symlink_to(target)


@pytest.fixture(scope="module")
def outcomes(
    site: Path, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """What became of the commands that are refused and of those that work, run one after another in a process."""
    places = {"ARTIFACT": str(artifact), "OUT": str(tmp_path_factory.mktemp("out") / "out")}

    def placed(word: str) -> str:
        for name, path in places.items():
            word = word.replace(name, path)
        return word

    calls = [[name, *map(placed, words)] for table in (WORKING, REFUSED) for name, words in table.items()]
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, str(site)]
    done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = [Outcome(*each) for each in json.loads(done.stdout)]
    assert not Path(places["OUT"]).exists()
    return dict(zip(REFUSED, found[len(WORKING) :], strict=True)), dict(zip(WORKING, found, strict=False))


@pytest.mark.parametrize("command", REFUSED)
def test_what_needs_the_compiler_says_so(outcomes: tuple[dict[str, Outcome], dict[str, Outcome]], command: str) -> None:
    outcome = outcomes[0][command]
    (line,) = outcome.errors.splitlines()
    assert outcome.status == 2
    assert outcome.output == ""
    assert line.startswith("error: only what runs artifacts is installed, and this needs the compiler")
    assert line.endswith("run `pip install -e '.[compile,hf]'`, or with '.[all]' for everything")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("passes", "pipeline default"),
        ("inspect", "graphs     of"),
        ("generate", ""),
        ("evaluate", "perplexity"),
        ("machine", "NVIDIA H100"),
        ("doctor", "torch            not installed"),
    ],
)
def test_what_works(outcomes: tuple[dict[str, Outcome], dict[str, Outcome]], command: str, shown: str) -> None:
    outcome = outcomes[1][command]
    assert (outcome.status, outcome.errors) == (0, "")
    assert shown in outcome.output
