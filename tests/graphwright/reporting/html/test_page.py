"""The page as text: it loads nothing, escapes everything, and says what the report says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import graphwright.reporting.html
from graphwright.reporting.html import render
from graphwright.reporting.pipeline_report import Hit, Kind, MemoryPoint, Miss, PipelineReport, Price, Proof
from tests.graphwright.reporting.html import reports

TEMPLATES = Path(graphwright.reporting.html.__file__).parent / "templates"
HOSTILE = """</script><script>alert("1")</script><!-- <img src=x onerror=alert(1)> ' " & \u2028 {{ 7 * 7 }} {% if %}"""


class Reader(HTMLParser):
    """Every tag with its attributes, every text, and the texts of scripts and styles apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.sources: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag = self._open[-1] if self._open else ""
        self.sources.get(tag, self.texts).append(data)

    @property
    def text(self) -> str:
        """With runs of blanks as one, but for narrow spaces and other separators."""
        return re.sub(r"[ \n]+", " ", " ".join(self.texts))


def data(reader: Reader) -> dict[str, object]:
    return json.loads(reader.sources["script"][0])


def test_the_page_loads_nothing() -> None:
    reader = Reader(render(reports.small()))
    for tag, attributes in reader.tags:
        assert tag not in ("iframe", "object", "embed", "img", "base", "audio", "video", "form", "image", "use")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcset", "action", "xlink:href"), (tag, name)
            if name == "href":
                assert value is not None
                assert value == "data:," or value.startswith("#"), (tag, value)
    for source in (TEMPLATES / "page.css", TEMPLATES / "page.js"):
        text = source.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(|innerHTML|</", text)


def test_the_policy_allows_the_two_sources_only() -> None:
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in Reader(render(reports.small())).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/]+='; script-src 'sha256-[\w+/]+='; img-src data:; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )


def hostile() -> PipelineReport:
    return reports.small(
        graphwright=HOSTILE,
        program=HOSTILE,
        pipeline=HOSTILE,
        machine=reports.MACHINE.model_copy(
            update={"name": HOSTILE, "source": HOSTILE, "flops_per_second": {HOSTILE: 1e11}}
        ),
        notes=[HOSTILE],
        kinds=[
            Kind(phase="forward", op=HOSTILE, count=1, flops=f, bytes=9, launches=1, seconds=1e-6, limit="memory")
            for f in (0, 9)
        ],
        passes=[
            reports.row(
                HOSTILE,
                lossy=True,
                hits=[Hit(rule=HOSTILE, count=9, locations=[HOSTILE] * n) for n in (1, 9)],
                near_misses=[Miss(rule=HOSTILE, location=HOSTILE, matched=1, reason=HOSTILE)],
                proof=Proof(status="measured", kl=1e-3, logit_error=0.1),
                diff=f"+{HOSTILE}",
            )
        ],
        graph=f"{HOSTILE}\n",
    )


def test_texts_of_users_stay_texts() -> None:
    page, plain = render(hostile()), Reader(render(reports.small()))
    reader = Reader(page)
    assert len(reader.sources["script"]) == len(plain.sources["script"]) == 2
    assert reader.sources["script"][1] == plain.sources["script"][1]
    assert not [tag for tag, attributes in reader.tags if tag == "img" or "onerror" in attributes]
    assert "alert(1)>" not in page
    assert data(reader) == {"graph": f"{HOSTILE}\n", "diffs": [f"+{HOSTILE}"]}
    for tag in ("h1", "title", "meta", "button", "td", "text"):
        assert f"<{tag}" in page
    assert reader.text.count(HOSTILE) > 15
    assert "49" not in reader.text


def test_the_data_are_whole() -> None:
    report = reports.small()
    assert data(Reader(render(report))) == {"graph": report.graph, "diffs": [report.passes[0].diff]}


def test_size_is_that_of_the_data() -> None:
    """Besides the texts of the report, which JSON may lengthen, the page is small."""
    graph = reports.small().graph * 2000
    assert len(render(reports.small(graph=graph))) - len(json.dumps(graph)) < 100_000


def test_headline_and_table() -> None:
    text = Reader(render(reports.small(notes=["the proof ran on 2 layers"], measured_seconds={"forward": 2e-3}))).text
    for part in (
        "forward 1.00 ms → 500 µs 2.00\u00d7 faster mostly memory-bound, measured 2.00 ms",
        "4.77 MiB → 2.38 MiB 2.00\u00d7 less",
        "100 → 50",
        "all graphs 30 → 20 33\u202f% less",
        "worst error 1.0e-7 1.00\u202f% of its bound 1.0e-5, in canonicalize",
        "the proof ran on 2 layers",
        "1.0e-7 ≤ 1.0e-5",
        "batch 1, length 128",
        "merge-reshapes 2 model.layers.0, model.layers.1",
        "fuse-rms-norm model.norm 3 expected mul, found add",
        "+1 \u22121 lines",
    ):
        assert part in text


def test_two_phases() -> None:
    phases = {"prefill": reports.price(), "decode": reports.price(0.1)}
    report = reports.small(before=phases, passes=[reports.row(prices=phases)], kinds=[])
    text = Reader(render(report)).text
    assert "prefill of 128 tokens, decode at a context of 128" in text
    assert "prefill 1.00 ms → 1.00 ms unchanged" in text
    assert "nothing to plot" in text


def test_a_lossy_pass_is_marked_and_measured() -> None:
    proof = Proof(status="measured", kl=2e-4, logit_error=0.03, seconds=1.0)
    text = Reader(render(reports.small(passes=[reports.row("quantize{bits=4}", lossy=True, proof=proof)]))).text
    assert "quantize{bits=4} lossy" in text
    assert "KL 2.0e-4, logits 3.0e-2" in text
    assert "logits off by 3.0e-2, in quantize{bits=4}" in text


def test_without_a_machine() -> None:
    price = reports.price(seconds=None)
    kind = Kind(phase="forward", op="exp", count=1, flops=8, bytes=8, launches=1, seconds=None, limit=None)
    row = reports.row(prices={"forward": price}, proof=None)
    reader = Reader(render(reports.small(machine=None, before={"forward": price}, passes=[row], kinds=[kind])))
    assert "No machine was named, so there are no roofs to plot under" in reader.text
    assert "none named, so no times are predicted" in reader.text
    assert "Predicted time" not in reader.text
    assert "--prove" in reader.text
    assert "plot" not in [attributes.get("class") for tag, attributes in reader.tags if tag == "svg"]


def test_without_passes() -> None:
    text = Reader(render(reports.small(passes=[], kinds=[], graph=""))).text
    assert "forward 1.00 ms → 1.00 ms unchanged" in text


def test_memory() -> None:
    points = [MemoryPoint(context=n, weights=2**20, cache=n * 1024, activations=n) for n in (4096, 1, 2048)]
    reader = Reader(render(reports.small(memory=points)))
    assert "4\u202f096 1.00 MiB 4.00 MiB 4.00 KiB 5.00 MiB" in reader.text
    assert [attributes["class"] for tag, attributes in reader.tags if tag == "svg"].count("plot") == 2
    alone = Reader(render(reports.small(memory=points[:1]))).text
    assert "4\u202f096 1.00 MiB" in alone
    assert "no context whose length" in Reader(render(reports.small(memory=[]))).text


def test_prices_of_nothing() -> None:
    nothing = Price.model_validate(dict.fromkeys(Price.model_fields, 0) | {"limit": None})
    kind = Kind(phase="forward", op="view", count=1, flops=0, bytes=0, launches=0, seconds=0.0, limit=None)
    row = reports.row(prices={"forward": nothing}, proof=Proof(status="proven", error=0.0, bound=0.0))
    text = Reader(render(reports.small(before={"forward": nothing}, passes=[row], kinds=[kind]))).text
    assert "0 s → 0 s" in text
    assert "0 ≤ 0" in text


def test_colours_can_be_told_from_their_ground() -> None:
    """The contrast that WCAG 2.2 asks for, 4.5 to 1 for text and 3 to 1 for shapes and controls, in both themes."""
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", css))
    texts = ("ink", "muted", "accent", "better", "worse", "prefill", "decode", "forward")
    grounds = {"paper": texts, "panel": ("ink", "muted", "accent", "better", "worse"), "match": ("ink",)}
    grounds |= {"added": ("ink",), "removed": ("ink",)}
    for theme in (0, 1):
        for ground, fronts in grounds.items():
            for front in fronts:
                assert contrast(colours, ground, front, theme) >= 4.5, (ground, front, theme)
        for front in ("control", "weights", "cache", "activations"):
            assert contrast(colours, "paper", front, theme) >= 3, (front, theme)


def contrast(colours: dict[str, str], ground: str, front: str, theme: int) -> float:
    low, high = sorted(luminance(colours[name].split(", ")[theme]) for name in (ground, front))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
