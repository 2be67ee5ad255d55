"""Different ways to do the same thing, timed in turns, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode


__all__ = ["compare", "count_operations", "summarize", "time_growth", "time_in_turns"]


def time_in_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    warm_up: bool = True,
    all_cores: bool = False,
) -> dict[str, list[float]]:
    """Seconds that every way takes in every round, after one that does not count if there is a `warm_up`.

    They are seconds of processor time, which other programs lengthen little, and on a GPU, or where a way uses
    `all_cores`, seconds of the clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    clock = time.perf_counter if device == "cuda" or all_cores else time.process_time
    order = list(ways)
    for _ in range(rounds + warm_up):
        # There and back, so that none always runs in the memory and caches that the same other one left.
        order.reverse()
        for name in order:
            start = clock()
            ways[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return {name: times[-rounds:] for name, times in seconds.items()}


def count_operations(step: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def time_growth(sizes: Mapping[str, Callable[[], object]], rounds: int) -> dict:
    """The `cpu_seconds` of the same thing at every size, in turns, and the `time_ratio` of the last to the first."""
    seconds = time_in_turns(sizes, rounds)
    of_sizes = list(seconds.values())
    return {
        "cpu_seconds": {size: summarize(times) for size, times in seconds.items()},
        "time_ratio": summarize([more / less for less, more in zip(of_sizes[0], of_sizes[-1], strict=True)]),
    }


def compare(
    seconds: Mapping[str, list[float]], num_images: int, must: float | None = None, goal: float | None = None
) -> dict:
    """Images a second of every way, and how many times those of each peer the first way makes.

    Args:
        seconds: As `time_in_turns` gives them.
        num_images: Images that each way takes at once.
        must: What the first way has to be, times the fastest of its peers.
        goal: What it should be.

    Returns:
        `images_per_second` and `ratios` by the name of the way, each with its median, lowest and highest of the
        rounds; the name of the `fastest_peer`; `must` and `goal`.
    """
    ours, *peers = seconds
    rates = {name: summarize([num_images / second for second in times]) for name, times in seconds.items()}
    ratios = {
        name: summarize([theirs / own for own, theirs in zip(seconds[ours], seconds[name], strict=True)])
        for name in peers
    }
    return {
        "images_per_second": rates,
        "ratios": ratios,
        "fastest_peer": max(peers, key=lambda name: rates[name]["median"]),
        "must": must,
        "goal": goal,
    }


def summarize(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
