"""What the figures were measured on, and the yardstick of each run: this machine's matmul rate."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

MATMUL_SIDE = 2048
Name = TypeVar("Name")


def described(device: str) -> str:
    """Processor and threads, or GPU."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    """Its name, and the widest vectors that it has."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    name = next((line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line), "")
    return f"{name or platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def seconds(run: Callable[[], Any], device: str, *, times: int = 1) -> float:
    """Best of `times`, after the device has finished."""
    best = float("inf")
    for _ in range(times):
        finish(device)
        start = time.perf_counter()
        run()
        finish(device)
        best = min(best, time.perf_counter() - start)
    return best


def best_in_turn(runs: Mapping[Name, Callable[[], Any]], times: int) -> dict[Name, float]:
    """Seconds of each on a CPU, the best of so many rounds over all of them."""
    rounds = [{name: seconds(run, "cpu") for name, run in runs.items()} for _ in range(times)]
    return {name: min(took[name] for took in rounds) for name in runs}


def finish(device: str) -> None:
    """Waits for a GPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def matmul_gflops(dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of a square matrix product."""
    a, b = (torch.randn(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype) for _ in range(2))
    run = lambda: a @ b  # noqa: E731
    seconds(run, device)
    return 2e-9 * MATMUL_SIDE**3 / seconds(run, device, times=5)


@contextmanager
def emulated_bf16() -> Iterator[None]:
    """Within, autocast convolutions round inputs, weights and results to bf16 and multiply in fp32.

    For the error of bf16 on processors without its instructions: what differs is the order of sums alone.
    """
    real = {name: getattr(F, name) for name in ("conv2d", "conv3d")}

    def rounded(name: str, x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return real[name](x, weight, *rest, **named)
        with torch.autocast(x.device.type, enabled=False):
            x, weight = (t.bfloat16().float() for t in (x, weight))
            rest = tuple(t.float() if isinstance(t, Tensor) else t for t in rest)
            return real[name](x, weight, *rest, **named).bfloat16()

    for name in real:
        setattr(F, name, partial(rounded, name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(F, name, function)


def gflop(run: Callable[[], Any]) -> float:
    """Of convolutions and matrix products, two for a multiplication and an addition."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def kept_bytes(run: Callable[[], Tensor], known: Iterable[Tensor]) -> tuple[Tensor, int]:
    """The result, and the bytes that autograd keeps for its backward pass besides what is known."""
    held: dict[int, Tensor] = {}  # of a storage one tensor: alive, so that no other takes its place

    def keep(x: Tensor) -> Tensor:
        held.setdefault(x.untyped_storage()._cdata, x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = run()
    own = {x.untyped_storage()._cdata for x in known}
    return result, sum(x.untyped_storage().nbytes() for key, x in held.items() if key not in own)


def peak_gib(device: str) -> float:
    """Most memory so far: of the process, or of the GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
