"""Portrait, speech and pose → frames at paper size: ours against the release's way, as ratios in one run.

    python -m benchmarks.renderer                       # fp32, exact
    python -m benchmarks.renderer --precision bf16      # on a processor with bf16 instructions
    python -m benchmarks.renderer --emulate             # bf16's error, without its speed, on any processor
    python -m benchmarks.renderer --compile             # torch.compile
    python -m benchmarks.renderer --device cuda         # frames per second by batch; no slow path

Weights are random: arithmetic costs the same, pictures show nothing.
"""

from __future__ import annotations

import argparse
import copy
import statistics

import torch
from torch import Tensor

from benchmarks import slow_path
from benchmarks.machine import described, emulated_bf16, gflop, matmul_gflops, peak_gib, seconds
from benchmarks.scene import Scene, scene
from eatlab.backbone.precision import cpu_has_bf16, drawing
from eatlab.backbone.published.winograd import directly
from eatlab.backbone.talking_head import Portrait, TalkingHead, animate, compile_drawing, for_cpu

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES = (1, 2, 4, 8, 16)


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--emulate", action="store_true")
    asked = parser.parse_args()
    if asked.emulate:
        print(f"{described('cpu')}; random weights; bf16 emulated")
        with torch.no_grad():
            emulate(asked.frames)
        return
    if asked.device == "cpu" and asked.precision == "bf16" and not cpu_has_bf16():
        parser.error("this processor has no bf16 instructions; torch's loops would take an hour a frame")
    print(f"{described(asked.device)}; random weights; {asked.precision}{', compiled' * asked.compile}")
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, in the yardstick and in what it measures
    rate = matmul_gflops(DTYPES[asked.precision], asked.device)
    print(f"matmul {asked.precision}: {rate:.0f} GFLOP/s")
    measure = against_slow if asked.device == "cpu" else by_batch
    with torch.no_grad():
        measure(asked, rate)


def faster(head: TalkingHead, asked: argparse.Namespace) -> TalkingHead:
    """A copy as the flags ask for it."""
    ours = for_cpu(copy.deepcopy(head))
    return compile_drawing(ours) if asked.compile else ours


def against_slow(asked: argparse.Namespace, rate: float) -> None:
    """A clip drawn both ways, frame by frame in turn."""
    clip = scene(asked.frames)
    slow, ours = clip.head, faster(clip.head, asked)
    portrait = portrait_of(slow, clip)
    once = seconds(lambda: portrait_of(ours, clip), "cpu", times=2)
    slow_frames = slow_path.animate(
        slow, clip.image, portrait, clip.speech, clip.driving, clip.padding, clip.context
    )
    ours_frames = animate(
        ours,
        portrait_of(ours, clip),
        clip.speech,
        clip.driving,
        clip.padding,
        clip.context,
        precision=asked.precision,
    )
    drawn(ours, portrait, clip, asked.precision), drawn_slowly(slow, portrait, clip)  # warm, both
    took: dict[str, list[float]] = {"slow": [], "ours": []}
    off = []
    for _ in range(asked.frames):  # the first also hears the whole clip, in both
        a, b = timed(slow_frames, took["slow"]), timed(ours_frames, took["ours"])
        off.append(float((a - b).abs().mean()) * 255 / 2)
    with directly():
        detector = seconds(lambda: slow.keypoints(clip.image), "cpu", times=2)
    work = {
        "slow": gflop(lambda: drawn_slowly(slow, portrait, clip)),
        "ours": gflop(lambda: drawn(ours, portrait, clip, asked.precision)),
    }
    for name, times in took.items():
        each = statistics.median(times[1:] or times)
        speed = work[name] / each
        print(
            f"{name}: {each:.2f} s a drawn frame, {work[name]:.0f} GFLOP, {speed:.0f} GFLOP/s, "
            f"{100 * speed / rate:.0f} % of matmul"
        )
    totals = {"slow": detector + sum(took["slow"]), "ours": once + sum(took["ours"])}
    each = {name: statistics.median(times[1:] or times) for name, times in took.items()}
    print(f"once a clip: ours {once:.2f} s (keypoints, volume), slow {detector:.2f} s (keypoints)")
    print(f"drawn frame: {each['slow'] / each['ours']:.2f} x faster")
    print(f"whole pipeline, {asked.frames} frames: {totals['slow'] / totals['ours']:.2f} x faster")
    print(f"mean difference of pictures: {statistics.mean(off):.4f} of 255")
    print(f"peak memory of both together: {peak_gib('cpu'):.1f} GiB")


def emulate(num_frames: int) -> None:
    """How far bf16 pictures are from fp32 ones."""
    clip = scene(num_frames)
    head = for_cpu(clip.head)
    given = (portrait_of(head, clip), clip.speech, clip.driving, clip.padding, clip.context)
    off = []
    with emulated_bf16():
        pairs = zip(animate(head, *given), animate(head, *given, precision="bf16"), strict=True)
        for exact, rounded in pairs:
            off.append((exact - rounded).abs() * 255 / 2)
    mean, most = float(torch.cat(off).mean()), float(torch.cat(off).max())
    print(f"bf16 (emulated) against fp32, {num_frames} frames: mean {mean:.3f}, largest {most:.1f} of 255")


def portrait_of(head: TalkingHead, clip: Scene) -> Portrait:
    """Once a clip."""
    return head.portrait(clip.image, clip.pose, clip.context, expression=clip.expression)


def timed(frames: object, took: list[float]) -> Tensor:
    """The next frame; how long it took is appended."""
    found: list[Tensor] = []
    took.append(seconds(lambda: found.append(next(frames)), "cpu"))  # type: ignore[call-overload]
    return found[0]


def drawn(head: TalkingHead, portrait: Portrait, clip: Scene, precision: str) -> Tensor:
    """One frame, ours."""
    with drawing(precision, clip.image.device):
        return head.render(portrait, clip.expression, clip.driving.pose[:1], clip.context)


def drawn_slowly(head: TalkingHead, portrait: Portrait, clip: Scene) -> Tensor:
    """One frame, the slow path's."""
    where = head.compose(portrait.canonical, clip.driving.pose[:1], clip.expression)
    return slow_path.draw(head.renderer, clip.image, (portrait.keypoints, where), clip.context)


def by_batch(asked: argparse.Namespace, rate: float) -> None:
    """Frames per second on a GPU by batch."""
    clip = scene(max(BATCHES)).to(asked.device)
    head = faster(clip.head, asked)
    portrait = portrait_of(head, clip)
    work = gflop(lambda: drawn(head, portrait, clip, asked.precision))
    for count in BATCHES:
        rows = portrait.rows(torch.zeros(count, dtype=torch.long, device=asked.device))
        expression = clip.expression.expand(count, -1, -1)

        def run(rows: Portrait = rows, expression: Tensor = expression, count: int = count) -> Tensor:
            with drawing(asked.precision, asked.device):
                return head.render(rows, expression, clip.driving.pose[:count], clip.context)

        torch.cuda.reset_peak_memory_stats()
        seconds(run, asked.device, times=3)
        took = seconds(run, asked.device, times=5)
        speed = work * count / took
        print(
            f"batch {count}: {count / took:.1f} frames/s, {speed:.0f} GFLOP/s, "
            f"{100 * speed / rate:.0f} % of matmul, {peak_gib(asked.device):.1f} GiB"
        )


if __name__ == "__main__":
    main()
