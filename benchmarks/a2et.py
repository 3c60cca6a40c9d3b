"""Speech, pose and portrait → E at paper size: ours against the release's way, and memory against length.

    python -m benchmarks.a2et                 # time a frame, as a ratio
    python -m benchmarks.a2et --memory        # peak memory of the whole pipeline at 1, 10 and 60 s

Weights are random: arithmetic costs the same.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys

import torch
from torch import Tensor

from benchmarks import slow_path
from benchmarks.machine import described, gflop, matmul_gflops, peak_gib, seconds
from benchmarks.renderer import portrait_of
from benchmarks.scene import Scene, scene
from eatlab.backbone.clip import Frames
from eatlab.backbone.talking_head import Portrait, animate, for_cpu

LENGTHS_S = (1, 10, 60)
FRAMES_PER_S = 25
CHUNK = 5


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    print(
        f"{described('cpu')}; random weights; fp32" if not asked.seconds else "",
        end="\n" * (not asked.seconds),
    )
    with torch.no_grad():
        if asked.seconds:
            one_length(asked.seconds)
        elif asked.memory:
            each_length()
        else:
            compare(asked.frames)


def compare(num_frames: int) -> None:
    """E of a clip both ways, chunks of five frames in turn."""
    clip = scene(num_frames)
    fast = clip._replace(head=for_cpu(copy.deepcopy(clip.head)))
    rate, portrait = matmul_gflops(torch.float32, "cpu"), portrait_of(clip.head, clip)
    slowly(clip, portrait, torch.arange(CHUNK)), ours(fast, portrait)  # warm
    took = {
        "slow": sum(
            seconds(lambda rows=rows: slowly(clip, portrait, rows), "cpu")  # type: ignore[misc]
            for rows in torch.arange(num_frames).split(CHUNK)
        ),
        "ours": seconds(lambda: ours(fast, portrait), "cpu"),
    }
    work = {
        "slow": gflop(lambda: slowly(clip, portrait, torch.arange(CHUNK))) / CHUNK * num_frames,
        "ours": gflop(lambda: ours(fast, portrait)),
    }
    print(f"matmul fp32: {rate:.0f} GFLOP/s")
    for name, total in took.items():
        speed = work[name] / total
        print(
            f"{name}: {1e3 * total / num_frames:.0f} ms a frame, {work[name] / num_frames:.1f} GFLOP, "
            f"{speed:.0f} GFLOP/s, {100 * speed / rate:.0f} % of matmul"
        )
    literal = torch.cat([slowly(clip, portrait, rows) for rows in torch.arange(num_frames).split(CHUNK)])
    off = (literal - ours(fast, portrait)).abs().max() / literal.std()
    print(f"{num_frames} frames: {took['slow'] / took['ours']:.2f} x faster")
    print(f"largest difference of E: {float(off):.1e} of its deviation")


def slowly(clip: Scene, portrait: Portrait, frames: Tensor) -> Tensor:
    """E of some frames, every window encoded anew."""
    batch = slow_path.windows(clip.speech, clip.driving, clip.padding, frames)
    return slow_path.expressions(clip.head, portrait, batch, clip.context)


def ours(clip: Scene, portrait: Portrait) -> Tensor:
    """E of the clip: frames encoded once, face map and EDN once."""
    a2et = clip.head.a2et
    frames = Frames.of(a2et, clip.speech, clip.driving, clip.padding, clip.context)
    face = a2et.adapted_face(portrait.face_map, clip.context)
    context = clip.context.with_portrait(face).settled()
    parts = [
        clip.head.speak(frames.windows(rows) | {"face": face, "hull": portrait.hull}, context)[0]
        for rows in torch.arange(len(frames.pose)).split(CHUNK)
    ]
    return torch.cat(parts)


def each_length() -> None:
    """Peak memory of the whole pipeline, each length in a process of its own.

    The whole clip is heard and the first frames are drawn; every further frame costs the memory of the first.
    """
    for length in LENGTHS_S:
        command = [sys.executable, "-m", "benchmarks.a2et", "--seconds", str(length)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def one_length(length: int) -> None:
    """Prints the line of one length."""
    clip = scene(length * FRAMES_PER_S)
    head = for_cpu(clip.head)
    inputs = sum(x.numel() * x.element_size() for x in (*clip.speech, *clip.driving) if x is not None)
    frames = animate(head, portrait_of(head, clip), clip.speech, clip.driving, clip.padding, clip.context)
    next(frames)
    print(f"{length} s: peak {peak_gib('cpu'):.2f} GiB, of which inputs {inputs / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
