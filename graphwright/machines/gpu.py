"""What `graphwright doctor` says of a GPU: the driver, the device, and what is missing to run kernels there."""

from graphwright.backends.cuda.gpu import GPUS
from graphwright.runtime.cuda_api import cuda, cuda_version
from graphwright.runtime.errors import SessionError


def gpu_facts() -> list[tuple[str, str]]:
    """Lines for the driver, the device and its memory; one line that says what is missing where there is none.

    Starts the driver.
    """
    try:
        driver = cuda()
        left, total = driver.memory()
        return [
            ("gpu driver", f"for CUDA {cuda_version(driver.version)}"),
            ("gpu", f"{driver.name}, {driver.architecture}{_without_kernels(driver.architecture)}"),
            ("gpu memory", f"{left / 2**30:.1f} GiB available of {total / 2**30:.1f} GiB"),
        ]
    except SessionError as error:
        return [("gpu", f"none: {error}")]


def _without_kernels(architecture: str) -> str:
    if architecture in (*GPUS, "emulated"):
        return ""
    return f", for which no kernels are made: there are {', '.join(GPUS)}"
