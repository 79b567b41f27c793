"""The arrows between the parts, the size of files, and the list of packages: what the design promises, held here."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import graphwright.ir.convention

ROOT = Path(__file__).parent.parent
PARTS = {
    "ir": (),
    "frontend": ("graphwright.ir", "graphwright.runtime.validation"),
    "passes": ("graphwright.ir",),
    "backends": (
        "graphwright.ir",
        "graphwright.passes.base",
        "graphwright.passes.lowering",
        "graphwright.runtime.artifact",
    ),
    "runtime": (),
}
"""What of ours each part may import, besides itself. The folder `graphwright` itself may import everything."""

LONGEST = 400


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] not in PARTS else ("graphwright", *parts))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from a import b` counts as `a.b`, as b may be a module."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_its_arrows_allow(part: str) -> None:
    allowed = (f"graphwright.{part}", *PARTS[part])
    strays = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(part)
        for module in imports(path)
        if within(module, "graphwright") and not any(within(module, each) for each in allowed)
    ]
    assert not strays


def test_the_runtime_never_imports_torch_or_the_compiler() -> None:
    strays = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("runtime")
        for module in imports(path)
        if any(within(module, each) for each in ("torch", "onnx", "transformers", "triton", "tvm"))
    ]
    assert not strays


def test_only_tests_import_tests_and_nothing_of_the_package_imports_what_stands_beside_it() -> None:
    strays = [
        f"{path.relative_to(ROOT)} imports {module}"
        for folder, forbidden in [
            *((part, ("tests", "benchmarks", "examples")) for part in (*PARTS, "graphwright")),
            ("benchmarks", ("tests",)),
            ("examples", ("tests", "benchmarks")),
        ]
        for path in sources(folder)
        for module in imports(path)
        if any(within(module, each) for each in forbidden)
    ]
    assert not strays


def test_no_file_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources(*PARTS, "graphwright", "tests", "benchmarks", "examples")
    }
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST}


def unnamed(source: str) -> list[int]:
    """The lines of functions called `_`, which no symbol search and no stack trace tells apart."""
    functions = (n for n in ast.walk(parsed(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return sorted(n.lineno for n in functions if not n.name.strip("_"))


def test_every_function_has_a_name() -> None:
    paths = sources(*PARTS, "graphwright", "benchmarks", "examples", "tests")
    found = {str(path): unnamed(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_function_without_a_name_is_found() -> None:
    assert unnamed("@f.cost\ndef _(op): ...\ndef g():\n    async def __(): ...\n    def _named(): ...\n") == [2, 4]


def test_a_face_only_re_exports() -> None:
    """A folder's `__init__.py` holds imports, `__all__`, and at most what lazy re-export needs."""
    strays: list[str] = []
    for path in sources(*PARTS, "graphwright"):
        if path.name == "__init__.py":
            body = parsed(path.read_text(encoding="utf-8")).body
            strays += [
                f"{path.relative_to(ROOT)}:{node.lineno}"
                for node in body
                if isinstance(node, ast.ClassDef)
                or (isinstance(node, ast.FunctionDef) and node.name not in ("__getattr__", "__dir__"))
            ]
    assert not strays


def test_every_part_is_linked_into_the_package_and_every_folder_is_a_package() -> None:
    links = {path.name: path.readlink() for path in (ROOT / "graphwright").iterdir() if path.is_symlink()}
    assert links == {part: Path("..", part) for part in PARTS}
    found = {module_of(path) for path in sources(*PARTS, "graphwright") if path.name == "__init__.py"}
    folders = {module_of(path).rpartition(".")[0] for path in sources(*PARTS, "graphwright") if path.stem != "__init__"}
    assert folders <= found, "a folder lacks its __init__.py"


@pytest.mark.parametrize("module", ["graphwright", "graphwright.ir", "graphwright.ir.rewriting", "graphwright.runtime"])
def test_importing_is_light(module: str) -> None:
    heavy = ("torch", "onnx", "onnxruntime", "transformers", "tvm", "tvm_ffi", "sympy")
    script = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == []


EVALUATORS = frozenset({"eval", "exec", "__import__", "sympify", "parse_expr", "literal_eval"})
EVALUATED: dict[tuple[str, str], str] = {}
"""Where such a function stands, and why no file's text can reach it: (file, function) to reason."""


def test_no_text_is_evaluated() -> None:
    """No file's text is run as Python, and none is given to sympy, which evaluates what it parses."""
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(*PARTS, "graphwright")
        for name in evaluators(path.read_text(encoding="utf-8"))
    }
    assert found == EVALUATED.keys()


def evaluators(source: str) -> frozenset[str]:
    """The functions named in a source that evaluate text; not `module.eval()`, torch's switch for inference."""
    tree = parsed(source)
    switches = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call) and not n.args and not n.keywords}
    names = (
        node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Name, ast.Attribute, ast.alias))
        and not (isinstance(node, ast.Attribute) and node.attr == "eval" and id(node) in switches)
    )
    return EVALUATORS & set(names)


@pytest.mark.parametrize(
    "source",
    ["eval(text)", "f = exec", "sympy.sympify(text)", "from sympy import parse_expr as read", "pandas.eval(text)"],
)
def test_what_evaluates_text_is_found(source: str) -> None:
    assert evaluators(source)
    assert not evaluators("model.eval()")


CONVENTION = frozenset(
    value for name, value in vars(graphwright.ir.convention).items() if name.isupper() and isinstance(value, str)
)
OF_OTHERS: dict[str, set[str]] = {
    # LoRA's matrices
    "frontend/adapters/files.py": {"B"},
    "frontend/adapters/merging.py": {"B"},
    "frontend/adapters/parameters.py": {"B"},
    # parameters of other libraries' functions and files
    "frontend/hugging_face.py": {"pad_token_id", "decoder_start_token_id"},
    "frontend/hugging_face_recurrence.py": {"B", "C"},
    "backends/onnx/export/genai.py": {"input_ids", "attention_mask", "logits", "context_length", "pad_token_id"},
    # units: bytes, tera, peta
    "graphwright/cli/output.py": {"B"},
    "graphwright/reporting/html/quantities.py": {"B", "T", "P"},
    # phases of a report, whose type says them again for pydantic: tests/ir/test_convention.py holds both equal
    "graphwright/reporting/pipeline_report.py": {"prefill", "decode", "forward"},
    "graphwright/cli/inspect.py": {"prefill", "decode", "forward"},
    "graphwright/cli/pipeline_table.py": {"prefill", "decode", "forward", "logits"},
    "graphwright/reporting/phase_timing.py": {"prefill", "decode", "forward"},
    # options of the command line
    "graphwright/evaluating/evaluate.py": {"logits"},
    "graphwright/sources/models.py": {"logits"},
    # operands of ops, as their declarations call them
    "backends/tvm/emit/recurrence.py": {"new_length"},
    "ir/dialects/cuda/choosing.py": {"logits", "logit_positions", "past_length", "sampling", "sampling_key"},
    # of a kernel
    "backends/cuda/images.py": {"parameters"},
    "backends/cuda/program_file.py": {"parameters"},
    "graphwright/emulating/emulator.py": {"parameters"},
}
"""Strings that are spelt as names of the calling convention and mean something else, by file."""
OTHER_NAMES = ("ir/ops/", "backends/cuda/emit/")
"""Where strings are names of operands of ops, and of parameters of kernels."""


def test_only_the_convention_spells_its_names() -> None:
    """Elsewhere they are constants, so that there is one place to read what they mean, or to change them."""
    found: dict[str, set[str]] = {}
    for path in sources("ir", "frontend", "passes", "backends", "graphwright"):
        name = str(path.relative_to(ROOT))
        if name != "ir/convention.py" and not name.startswith(OTHER_NAMES) and path.name != "__init__.py":
            found[name] = convention_literals(path.read_text(encoding="utf-8"))
    strays = {name: sorted(names - OF_OTHERS.get(name, set())) for name, names in found.items()}
    assert not {name: names for name, names in strays.items() if names}
    assert not {name: unused for name, names in OF_OTHERS.items() if (unused := names - found[name])}


def convention_literals(source: str) -> set[str]:
    """Names of the convention that a source spells, but for operands that it asks an op for and type variables."""
    tree = parsed(source)
    operands = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("operand", "required", "operand_index", "TypeVar")
        for argument in node.args
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value in CONVENTION
        and id(node) not in operands
    }


def test_what_spells_a_name_is_found() -> None:
    assert convention_literals('graph.outputs["logits"]; f"past.{n}"; x == "B"') == {"logits", "past.", "B"}
    assert not convention_literals('op.operand("past_length"); "the logits"; graph.outputs[LOGITS]')


def test_types_are_checked_in_every_room() -> None:
    """pyright doesn't follow links, so a room that `graphwright` links to is left out unless it is named."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    linked = {f"graphwright/{path.name}" for path in (ROOT / "graphwright").iterdir() if path.is_symlink()}
    assert linked <= set(settings["tool"]["pyright"]["include"])
