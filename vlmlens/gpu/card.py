"""The device that is tried: its name, its memory, its clock."""

import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vlmlens.errors import InputError
from vlmlens.experiments.diagnosis import versions


@dataclass(frozen=True)
class Card:
    """A device, and how time and memory are read on it.

    Attributes:
        device: ``cuda``, ``cuda:1``, or ``cpu``, where only laws and ratios of times mean anything.

    Raises:
        InputError: no such device on this machine.

    Examples:
        >>> from vlmlens.gpu.card import Card
        >>> Card("cpu").cuda
        False
    """

    device: str

    def __post_init__(self):
        if self.cuda and not torch.cuda.is_available():
            raise InputError(
                f"--device {self.device}: torch {torch.__version__} sees no GPU here; install the "
                "build of torch that fits your driver, or try --device cpu, which tells nothing "
                "about a GPU"
            )

    @property
    def cuda(self) -> bool:
        """Whether it is one of NVIDIA's, or one that torch treats alike."""
        return torch.device(self.device).type == "cuda"

    def describe(self) -> dict[str, Any]:
        """Its name, memory and libraries, as plain values."""
        found: dict[str, Any] = {"device": platform.processor() or platform.machine()}
        if self.cuda:
            card = torch.cuda.get_device_properties(self.device)
            found = {
                "device": card.name,
                "devices": torch.cuda.device_count(),
                "memory GiB": round(card.total_memory / 2**30, 1),
                "compute capability": f"{card.major}.{card.minor}",
                "CUDA": torch.version.cuda or torch.version.hip,
            }
        return found | versions()

    def free(self) -> int:
        """Bytes that are free there; a CPU's are not asked for."""
        return torch.cuda.mem_get_info(self.device)[0] if self.cuda else 0

    def wait(self) -> None:
        """Until all work that was given to it is done."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object]) -> float:
        """How long a call takes, its work on the device included."""
        gc.collect()
        self.wait()
        start = time.perf_counter()
        kept = run()
        self.wait()
        took = time.perf_counter() - start
        del kept
        return took

    def peak(self, run: Callable[[], object]) -> float | None:
        """The most MiB that a call holds beyond what was there before; None on a CPU."""
        if not self.cuda:
            return None
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        kept = run()
        self.wait()
        del kept
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20

    def busy(self, run: Callable[[], object]) -> float | None:
        """Seconds for which a call keeps the device itself at work; None on a CPU."""
        if not self.cuda:
            return None
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            run()
            self.wait()
        return sum(each.self_device_time_total for each in seen.key_averages()) / 1e6
