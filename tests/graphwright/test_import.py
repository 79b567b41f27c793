"""What importing loads, seen from a fresh process."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnxruntime", "onnx", "transformers", "numpy")


def loaded_after(code: str) -> set[str]:
    """The modules of `HEAVY` that are loaded after `code` has run in a new process."""
    script = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("code", ["import graphwright", "import graphwright.cli"])
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) == set()


def test_loading_an_artifact_needs_no_torch(artifact: object) -> None:
    loaded = loaded_after(f"import graphwright\ngraphwright.load({str(artifact)!r}).generate([1], max_new_tokens=2)")
    assert loaded == {"numpy", "onnxruntime"}


def test_every_name_of_the_face_exists() -> None:
    import graphwright

    for name in graphwright.__all__:
        assert getattr(graphwright, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'compiel'"):
        _ = graphwright.compiel  # that is the point
