"""Archives that would run code, hang, or eat memory: each is refused in one line, before torch reads it."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from graphwright.frontend import CheckpointError, capture
from graphwright.frontend.archive.loading import first_line

Program = dict[str, Any]
SECONDS = 1.0
"""Of the processor. Each takes some milliseconds; what is refused here could take minutes."""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor, *, shift: Tensor) -> dict[str, Tensor]:
        return {"y": self.head(x) + shift * x.shape[0]}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    rows = {0: Dim.DYNAMIC}
    inputs, named = (torch.randn(3, 4),), {"shift": torch.randn(3, 4)}
    torch.export.save(
        torch.export.export(Model().eval(), inputs, named, dynamic_shapes={"x": rows, "shift": rows}), path
    )
    capture(path)
    return path


def rewritten(
    honest: Path,
    folder: Path,
    edit: Callable[[Program], None] | None = None,
    members: Mapping[str, bytes] = MappingProxyType({}),
    compression: int = 0,
) -> Path:
    """A copy whose program is edited; `members` are more files, or others of a name."""
    copy = folder / "hostile.pt2"
    with zipfile.ZipFile(honest) as source, zipfile.ZipFile(copy, "w", compression) as target:
        root = source.namelist()[0].split("/")[0]
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("models/model.json") and edit is not None:
                program = json.loads(content)
                edit(program)
                content = json.dumps(program).encode()
            if name.partition("/")[2] not in members:
                target.writestr(name, content)
        for name, content in members.items():
            target.writestr(f"{root}/{name}", content)
    return copy


def refuse(path: Path, message: str) -> None:
    """It is refused by what is read of it before torch reads it."""
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=message) as failure:
        capture(path)
    assert time.process_time() - begin < SECONDS
    assert str(failure.value).startswith(f"{path}: cannot read this archive: ")
    assert str(failure.value).isprintable()


MARKER = "MARKER"
"""Stands for the path of a file that the payloads would make."""

PAYLOADS = [
    "__import__('pathlib').Path('MARKER').touch()",
    "[f for f in ().__class__.__base__.__subclasses__() if f.__name__ == 'Popen'][0](['touch', 'MARKER'])",
    "Symbol('s27', positive=True, integer=__import__('pathlib').Path('MARKER').touch())",
    "Add(Integer(1), open('MARKER', 'w'))",
    "Integer(1).__class__",
    "(lambda: open('MARKER', 'w'))()",
    "Symbol(open('MARKER', 'w').name)",
]


def sizes(program: Program) -> list[dict[str, Any]]:
    """Every place of a size that is not a number."""
    metas = program["graph_module"]["graph"]["tensor_values"].values()
    return [size["as_expr"] for meta in metas for size in meta["sizes"] if "as_expr" in size]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("place", ["size", "list", "key", "guard", "operator", "range"])
def test_code_for_expressions(honest: Path, tmp_path: Path, payload: str, place: str) -> None:
    marker = tmp_path / "ran"
    text = payload.replace(MARKER, str(marker))

    def edit(program: Program) -> None:
        if place == "guard":
            program["guards_code"].append(f"L['x'].size()[0] < {text}")
        elif place == "operator":
            program["graph_module"]["graph"]["nodes"][0]["target"] = text
        elif place == "range":
            program["range_constraints"][text] = {"min_val": 1, "max_val": 2}
        else:
            sizes(program)[0]["expr_str"] = {"size": text, "list": [[text]], "key": {text: 1}}[place]

    refuse(rewritten(honest, tmp_path, edit), "cannot read this archive")
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system", "torch.hub.load", "torch.ops.load_library", "torch.ops.aten.__class__.__base__",
        "_operator.methodcaller", "_operator.attrgetter", "math.__loader__.load_module",
        "torch._C._jit_set_profiling_mode",
        "torch.ops.aten.from_file.default", "torch.ops.aten._print.default", "torch.ops.higher_order.__class__",
        "#aoti:mod", "builtins.print", "torch.ops.mylib.unknown.default",
    ],
)  # fmt: skip
def test_operators_that_are_none(honest: Path, tmp_path: Path, target: str) -> None:
    """Torch looks them up from `torch` on and calls them when the program is made functional."""

    def name(program: Program) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["target"] = target

    def operand(program: Program) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["inputs"][0]["arg"] = {"as_operator": target}

    for edit in (name, operand):
        refuse(rewritten(honest, tmp_path, edit), "operator")


CODE = "x): pass\nopen('MARKER', 'w')\ndef forward(self, y"


@pytest.mark.parametrize("place", ["value", "argument", "parameter", "forward", "keyword", "node", "enum", "default"])
def test_names_that_become_code(honest: Path, tmp_path: Path, place: str) -> None:
    """Torch writes names of values into the source of a module, and imports what structures of arguments name."""
    marker = tmp_path / "ran"
    code = CODE.replace(MARKER, str(marker))

    def edit(program: Program) -> None:
        module = program["graph_module"]
        call = module["module_call_graph"][0]["signature"]
        if place == "value":
            module["graph"]["tensor_values"][code] = next(iter(module["graph"]["tensor_values"].values()))
        elif place == "argument":
            module["graph"]["nodes"][0]["inputs"][0]["name"] = code
        elif place == "parameter":
            roles = [role["parameter"] for role in module["signature"]["input_specs"] if "parameter" in role]
            roles[0]["parameter_name"] = f'a", {code}, "'
        elif place == "forward":
            call["forward_arg_names"] = [code, "y"]
        elif place == "node":
            module["graph"]["nodes"][0]["name"] = code
        elif place == "keyword":
            call["in_spec"] = call["in_spec"].replace("shift", "shift=1 if True else 2")
        elif place == "enum":
            context = json.dumps({"__enum__": True, "fqn": "antigravity:x", "name": "y"})
            call["out_spec"] = json.dumps([1, {"type": "builtins.dict", "context": context, "children_spec": []}])
        else:
            factory: dict[str, object] = {
                "default_factory_module": "os",
                "default_factory_name": "getcwd",
                "dict_context": [],
            }
            call["out_spec"] = json.dumps(
                [1, {"type": "collections.defaultdict", "context": factory, "children_spec": []}]
            )

    refuse(rewritten(honest, tmp_path, edit), "cannot read this archive")
    assert not marker.exists()


DEEP = "Add(Integer(1), " * 300 + "Integer(1)" + ")" * 300
SYMBOL = "Symbol('s27', positive=True, integer=True)"


def tower(base: str, level: str, height: int) -> str:
    for _ in range(height):
        base = level.format(base)
    return base


@pytest.mark.parametrize(
    "text",
    [
        "Pow(Integer(2), Pow(Integer(2), Integer(60)))",
        "2**2**2**2**2**2",
        "Pow(Integer(9), Integer(99999999))",
        f"Pow(Pow(Pow({SYMBOL}, Integer(16)), Integer(16)), Integer(16))",
        "Pow(Add(" + ", ".join(SYMBOL.replace("27", str(i)) for i in range(20)) + "), Integer(12))",
        "Mul(" + ", ".join([f"Add({SYMBOL}, Symbol('s1'))"] * 14) + ")",
        "Add(" + ", ".join([SYMBOL] * 5000) + ")",
        f"Integer({'9' * 4000})",
        "Float('1e999999999', precision=53)",
        "TruncToInt(Pow(Pow(Float('1e999', precision=53), Integer(16)), Integer(16)))",
        tower("Integer(9223372036854775807)", "Pow({}, Integer(16))", 20),
        tower("Rational(1, 9223372036854775807)", "Pow({}, Integer(-16))", 20),
        tower(f"Add({SYMBOL}, Integer(9223372036854775807))", "Mul({0}, {0})", 7),
        "factorial(Integer(99999))",
        DEEP,
        "(" * 2000 + "1" + ")" * 2000,
        "-" * 4000 + "1",
        f"Max({', '.join(SYMBOL.replace('27', str(i)) for i in range(60))})",
    ],
)
def test_sizes_that_hang(honest: Path, tmp_path: Path, text: str) -> None:
    def edit(program: Program) -> None:
        sizes(program)[0]["expr_str"] = text

    refuse(rewritten(honest, tmp_path, edit), "cannot read this archive")


ROWS = "L['x'].size()[0]"


@pytest.mark.parametrize(
    "text",
    [
        f"2**2**2**2**2**{ROWS} > 1",
        f"9**9**9**9**9 > {ROWS}",
        f"{ROWS}**9999999 > 1",
        f"(({ROWS}**16)**16)**16 > 1 or " * 60 + f"{ROWS} > 1",
        " + ".join([ROWS] * 3000) + " > 1",
        "(" * 60 + ROWS + " // 2)" * 60 + " > 1",
        "not " * 900 + f"({ROWS} > 1)",
        f"{ROWS} < {'9' * 4200}",
        f"sum(range({ROWS} * 10**12)) > 1",
        f"[1 for _ in range(10**9)] == {ROWS}",
        f"'a' * 10**10 == {ROWS}",
    ],
)
def test_conditions_that_hang(honest: Path, tmp_path: Path, text: str) -> None:
    def edit(program: Program) -> None:
        program["guards_code"].append(text)

    refuse(rewritten(honest, tmp_path, edit), "cannot read this archive")


def test_counts_that_hang(honest: Path, tmp_path: Path) -> None:
    def range_of(program: Program) -> None:
        program["range_constraints"]["u999999"] = {"min_val": 0, "max_val": 1}

    def guards(program: Program) -> None:
        program["guards_code"] += [f"{ROWS} != {i}" for i in range(5000)]

    def expressions(program: Program) -> None:
        meta = next(iter(program["graph_module"]["graph"]["tensor_values"].values()))
        meta["sizes"] += [{"as_expr": {"expr_str": f"Add({SYMBOL}, Integer({i}))"}} for i in range(5000)]

    def nested(program: Program) -> None:
        value: Any = {"as_none": True}
        for _ in range(300):
            value = {"as_string_to_argument": {"a": value}}
        program["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"] = value

    def huge(program: Program) -> None:
        sizes(program)[0]["hint"] = {"as_int": 10**100}

    for edit in (range_of, guards, expressions, nested, huge):
        refuse(rewritten(honest, tmp_path, edit), "cannot read this archive")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("data/aotinductor/model/model.so", "a program and its tensors alone"),
        ("models/other.json", "a program and its tensors alone"),
        ("data/weights/model.pt", "a program and its tensors alone"),
        ("data/constants/model.pt", "a program and its tensors alone"),
    ],
)
def test_other_members(honest: Path, tmp_path: Path, member: str, message: str) -> None:
    refuse(rewritten(honest, tmp_path, members={member: b"x"}), message)


@pytest.mark.parametrize(
    "entry",
    [
        {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None},
        {"path_name": "custom_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None},
        {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None},
    ],
)
def test_pickled_constants(honest: Path, tmp_path: Path, entry: dict[str, Any]) -> None:
    configuration = json.dumps({"config": {"c": entry}}).encode()
    path = rewritten(honest, tmp_path, members={"data/constants/model_constants_config.json": configuration})
    refuse(path, "pickled object, which can run code")


def test_files_larger_than_the_archive(honest: Path, tmp_path: Path) -> None:
    many = {f"extra/{i}": bytes(1 << 20) for i in range(8)}
    refuse(rewritten(honest, tmp_path, members=many, compression=zipfile.ZIP_DEFLATED), "torch packs none")


def test_a_size_that_lies(honest: Path, tmp_path: Path) -> None:
    """The directory of the archive claims more than there is."""
    path = rewritten(honest, tmp_path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(content)
    refuse(path, "it is damaged: torch finds no files in it")


def test_tensors_larger_than_what_is_stored(honest: Path, tmp_path: Path) -> None:
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(honest) as archive:
        root = archive.namelist()[0].split("/")[0]
        configuration = json.loads(archive.read(f"{root}/{name}"))
    meta = configuration["config"]["head.weight"]["tensor_meta"]
    meta["sizes"] = [{"as_int": 1 << 20}, {"as_int": 1 << 20}]
    meta["strides"] = [{"as_int": 0}, {"as_int": 0}]
    refuse(
        rewritten(honest, tmp_path, members={name: json.dumps(configuration).encode()}),
        "elements, and 64 bytes are stored",
    )


def test_many_tensors_larger_than_what_is_stored(honest: Path, tmp_path: Path) -> None:
    """Each is within what a single one may have."""
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(honest) as archive:
        root = archive.namelist()[0].split("/")[0]
        configuration = json.loads(archive.read(f"{root}/{name}"))
    entry = configuration["config"]["head.weight"]
    entry["tensor_meta"]["sizes"] = [{"as_int": 1 << 14}, {"as_int": 1 << 14}]
    entry["tensor_meta"]["strides"] = [{"as_int": 0}, {"as_int": 0}]
    configuration["config"] |= {f"w{i}": entry for i in range(100)}
    path = rewritten(honest, tmp_path, members={name: json.dumps(configuration).encode()})
    refuse(path, "its tensors have 27111981060 elements together")


def test_what_torch_says_of_a_file_is_made_printable() -> None:
    assert first_line(ValueError("\n no \x1b]0;title\x07 \u202e \n more")) == (
        r"ValueError: no \x1b]0;title\x07 \u202e"
    )


def test_fields_that_torch_does_not_write(honest: Path, tmp_path: Path) -> None:
    def unknown(program: Program) -> None:
        program["graph_module"]["hook"] = "os.system"

    def text(program: Program) -> None:
        program["schema_version"]["major"] = "8"

    for edit in (unknown, text):
        refuse(rewritten(honest, tmp_path, edit), "does not write|holds the text")
