"""The few calls of ONNX Runtime that we use, typed. The package has no types of its own; all casts are here."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from graphwright.runtime.errors import SessionError


class OrtValue(Protocol):
    def numpy(self) -> np.ndarray[Any, Any]: ...
    def update_inplace(self, data: Any) -> None: ...


class LaidOutValue(OrtValue, Protocol):
    """What any of the library's values tells of its memory."""

    def shape(self) -> Sequence[int]: ...
    def element_type(self) -> int: ...
    def data_ptr(self) -> int: ...
    def device_name(self) -> str: ...


class OrtValueType(Protocol):
    def ortvalue_from_numpy_with_onnx_type(self, data: np.ndarray[Any, Any], /, onnx_element_type: int) -> OrtValue: ...
    def ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: int, device_type: str, device_id: int
    ) -> LaidOutValue: ...


class IOBinding(Protocol):
    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None: ...
    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None: ...
    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: int, shape: Sequence[int], buffer_ptr: int
    ) -> None: ...
    def bind_output(
        self,
        name: str,
        device_type: str,
        device_id: int = 0,
        element_type: int | None = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None: ...
    def get_outputs(self) -> Sequence[OrtValue]: ...


class RunOptions(Protocol):
    def add_run_config_entry(self, key: str, value: str) -> None: ...


class NodeArg(Protocol):
    name: str
    type: str


class InferenceSession(Protocol):
    def get_inputs(self) -> Sequence[NodeArg]: ...
    def get_outputs(self) -> Sequence[NodeArg]: ...
    def get_providers(self) -> Sequence[str]: ...
    def io_binding(self) -> IOBinding: ...
    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, np.ndarray[Any, Any]]
    ) -> Sequence[np.ndarray[Any, Any]]: ...
    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None: ...


class SessionOptions(Protocol):
    intra_op_num_threads: int
    log_severity_level: int

    def add_session_config_entry(self, key: str, value: str) -> None: ...


class InferenceSessionType(Protocol):
    def __call__(
        self, path: str, options: SessionOptions, /, *, providers: Sequence[str | tuple[str, Mapping[str, str]]]
    ) -> InferenceSession: ...


class OnnxRuntime(Protocol):
    @property
    def OrtValue(self) -> OrtValueType: ...
    @property
    def SessionOptions(self) -> Callable[[], SessionOptions]: ...
    @property
    def RunOptions(self) -> Callable[[], RunOptions]: ...
    @property
    def InferenceSession(self) -> InferenceSessionType: ...
    def get_available_providers(self) -> Sequence[str]: ...


def import_onnxruntime() -> OnnxRuntime:
    """ONNX Runtime, imported on first use. Raises SessionError when it is not installed."""
    try:
        return cast(OnnxRuntime, importlib.import_module("onnxruntime"))
    except ImportError as error:
        raise SessionError(
            f"ONNX Runtime cannot be imported ({error}); in the clone of Graphwright, run `pip install -e '.[cpu]'` "
            "or, for NVIDIA GPUs, '.[onnx-cuda]'"
        ) from None
