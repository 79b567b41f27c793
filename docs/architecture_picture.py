"""Draws `docs/architecture.svg`: `python docs/architecture_picture.py` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

WIDTH, HEIGHT = 1120, 522
TOP, FLOW_HEIGHT, LINE = 104, 262, 18
COLUMNS: tuple[tuple[int, int, str, tuple[str, ...]], ...] = (
    (16, 128, "a model", ("checkpoint", "module", ".pt2, .gw file")),
    (176, 148, "frontend/", ("torch.export", "operators to ops", "stored weights")),
    (
        356,
        232,
        "passes/",
        ("raising", "kv_cache", "simplifying", "quantization", "compression", "lowering/ort, lowering/cpu"),
    ),
    (
        620,
        212,
        "backends/",
        ("onnx: operators", "tvm: kernel library,", "    launch plan (plan/),", "    machine code"),
    ),
    (864, 108, "artifact", ("manifest", "weights", "program", "lowered.gw")),
    (1004, 100, "runtime/", ("engines", "generation", "evaluation")),
)
"""Left edge, width, name and content of what a model passes through, from left to right."""
CHECKED = ("after each pass: verify,", "prove (proving/), price")
FACE = ("graphwright/", "compiling, sources, files, quantizing, reporting, evaluating, machines, cli")
IR = (
    "ir/",
    "types, dimensions, graphs, the calling convention of programs,",
    "op declarations, dialects of targets (ort, cpu), capability tables,",
    "text, verifier, interpreter, rewriting, pricing",
)


def box(x: int, y: int, width: int, height: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'


def text(x: int, y: int, content: str, kind: str = "body") -> str:
    indent = len(content) - len(content.lstrip())
    return f'<text class="{kind}" x="{x + 3 * indent}" y="{y}">{content.lstrip()}</text>'


def arrow(x: int, y: int, end: int) -> str:
    return f'<path d="M{x} {y}H{end - 7}" class="line"/><path d="M{end - 8} {y - 5}l8 5l-8 5z" class="head"/>'


def shapes() -> Iterator[str]:
    whole = WIDTH - 32
    yield box(16, 16, whole, 60, "face")
    yield text(32, 42, FACE[0], "name")
    yield text(32, 62, FACE[1])
    middle = TOP + FLOW_HEIGHT // 2
    for i, (x, width, name, content) in enumerate(COLUMNS):
        folder = name.endswith("/")
        yield box(x, TOP, width, FLOW_HEIGHT, "folder" if folder else "data")
        yield text(x + 16, TOP + 28, name, "name")
        for j, line in enumerate(content):
            yield text(x + 16, TOP + 56 + j * (LINE + 4), line)
        if i:
            before = COLUMNS[i - 1]
            yield arrow(before[0] + before[1] + 3, middle, x - 3)
        if name == "passes/":
            for j, line in enumerate(CHECKED):
                yield text(x + 16, TOP + FLOW_HEIGHT - 34 + j * LINE, line, "note")
    bottom = TOP + FLOW_HEIGHT + 28
    end = COLUMNS[3][0] + COLUMNS[3][1]
    yield box(176, bottom, end - 176, 112, "ground")
    for j, line in enumerate(IR):
        yield text(192, bottom + 26 + j * (LINE + 4), line, "name" if j == 0 else "body")
    yield text(864, bottom + 26, "imports nothing of the rest,", "note")
    yield text(864, bottom + 26 + LINE, "nor torch", "note")


def picture() -> str:
    style = """text{font-family:system-ui,sans-serif;font-size:14px;fill:#1f2933}
.name{font-weight:600;font-size:16px}.note{font-style:italic;fill:#52606d}
rect{stroke:#52606d;fill:#fff}.folder{fill:#e6f0fa}.data{fill:#f5f7fa;stroke-dasharray:4 3}
.face{fill:#fdf3d8}.ground{fill:#e3f4e8}.line{stroke:#52606d;stroke-width:2;fill:none}.head{fill:#52606d}"""
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    title = "<title>A model's way through the folders of Graphwright</title>"
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill:#fff;stroke:none"/>'
    return "\n".join((begin, title, f"<style>{style}</style>", background, *shapes(), "</svg>\n"))


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(picture(), encoding="utf-8")
