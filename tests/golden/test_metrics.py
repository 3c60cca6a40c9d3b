"""Every golden case of evaluation.md is computed again from its inputs; prints case × error × tolerance.

EATLAB_GOLDEN names another file of the same form (`make test-metrics GOLDEN=file`). Handlers know metrics and
the names of values, no number.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from eatlab.data.audio_features import mfcc
from eatlab.experts.emotion_fan import EmotionFan
from eatlab.experts.inception import FidInception, ImageNetInception
from eatlab.experts.lse_syncnet import LseSyncNet
from eatlab.metrics import alignment, emotion, image, landmarks, lse, pairing
from eatlab.metrics.frechet import FID, Gaussian, Moments, frechet_distance
from eatlab.metrics.statistics import Bootstrap, interval, mean_of, paired_tests
from tests.golden.cases import beside, case, check, golden
from tests.golden.inputs import evaluated, hash_fill, made, to_frames

CLIP_LIST_SHA256 = "5634e46554c1560d5ef41d90f3de0d6ff4f137c75df7c12bd974e90e666a79e3"
"""Of the fixed list of eat/mead100 (evaluation.md 1)."""
PIXEL = re.compile(r"px_(\d+)_(\d+)$")
WINDOWS: dict[str, tuple[image.Window, ...]] = {
    "eat": ("uniform",),
    "standard": ("gaussian",),
    "both": ("uniform", "gaussian"),
}
OVER: dict[str, pairing.Over] = {"eat": "frames", "clip-mean": "clips"}
PADDING: dict[str, lse.Padding] = {"eat": "zeros", "standard": "valid"}

inception = cache(lambda: hash_fill(ImageNetInception()))
emotion_fan = cache(lambda: hash_fill(EmotionFan()))


def frames_of(recipe: dict[str, Any]) -> Tensor:
    """One picture as a batch of one."""
    return to_frames(made(recipe))[None]


def psnr_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    if protocol == "none":
        return pooled_psnr(inputs)
    return image.psnr(frames_of(inputs["a"]), frames_of(inputs["b"])).item()


def pooled_psnr(inputs: dict[str, Any]) -> float:
    """The trap: one squared error over all frames of all clips (their sizes are one)."""
    each = torch.cat([image.psnr(*sides) for sides in paired_clips(inputs)])
    return -10 * torch.log10((10 ** (-each / 10)).mean()).item()


def ssim_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    sides = frames_of(inputs["a"]), frames_of(inputs["b"])
    return np.array([image.ssim(*sides, window=window).item() for window in WINDOWS[protocol]])


def paired_clips(inputs: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """The frames that meet, clip by clip."""
    clips = [tuple(to_frames(made(clip[side])) for side in ("fake", "gt")) for clip in inputs["clips"]]
    at = [pairing.frame_pairs(len(fake), len(gt), lengths="stretch") for fake, gt in clips]
    return [(fake[i], gt[j]) for (fake, gt), (i, j) in zip(clips, at, strict=True)]


def quality_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    clips, over = paired_clips(inputs), OVER[protocol]
    psnrs = [image.psnr(*sides) for sides in clips]
    ssims = [image.ssim(*sides, window="uniform") for sides in clips]
    return {
        "per_clip_psnr": [values.mean().item() for values in psnrs],
        "per_clip_ssim": [values.mean().item() for values in ssims],
        "psnr": set_mean(psnrs, over),
        "ssim": set_mean(ssims, over),
        "frames": sum(map(len, psnrs)),
    }


def set_mean(clips: list[torch.Tensor], over: str) -> float:
    """As a table makes it: from clips' means, weighted by their frames where the mean is over frames."""
    counts = np.array([len(values) for values in clips], float)
    means = np.array([values.mean().item() for values in clips])
    return mean_of(means[None], counts if over == "frames" else 1.0)


def frame_index_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    return pairing.frame_index(inputs["N"], inputs["L"]).tolist()


def pixels(array: np.ndarray, expected: Any, prefix: str = "") -> dict[str, Any]:
    """Of an (h, w, 3) array, the pixels px_<row>_<column> whose names are expected."""
    places = {key: PIXEL.search(key) for key in expected}
    return {
        key: array[int(place[1]), int(place[2])]
        for key, place in places.items()
        if place and key.startswith(prefix or "px_")
    }


def align128_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    theta, shift = inputs["theta"], np.array(inputs["t"])
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    marks = np.zeros((68, 2), np.float32)
    marks[27:45] = inputs["scale"] * np.array(golden()["template_27_45"]) @ turn.T + shift
    matrix = alignment.align_matrix(marks)
    crop = alignment.align_face(made(inputs), matrix)
    return {"matrix_template_to_image": matrix, "mean": crop.mean(), "array": crop} | pixels(crop, expected)


def align224_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    sentence = inputs["three_points"].partition(", t=")[0]
    formulas = [text.partition("=")[2] for text in re.split(r",\s+(?=\w+=\()", sentence)]
    times = np.arange(inputs["T"])
    points = [[evaluated(text, t=t, s=inputs["s"]) for text in formulas] for t in times]
    return {
        "mean_matrix": alignment.similarity(np.mean(points, 0), alignment.SYNC_TARGET),
        "frame_translation": alignment.sync_matrices(np.array(points))[:, :, 2],
    }


def frechet_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    if "X" in inputs:
        return frechet_distance(*(gaussian(made(inputs[side])) for side in "XY"))
    sides = ((inputs[f"mu{i}"], inputs[f"var{i}"], inputs["dim"]) for i in (1, 2))
    return frechet_distance(*(gaussian_of(*side) for side in sides))


def gaussian(features: np.ndarray) -> Gaussian:
    """Fitted in batches."""
    moments = Moments(features.shape[1])
    for part in torch.from_numpy(features).split(7):
        moments.add(part)
    return moments.gaussian()


def gaussian_of(mean: float, variance: float, dim: int) -> Gaussian:
    return Gaussian(torch.full((dim,), mean).double(), variance * torch.eye(dim).double())


def fid_input_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    net = ImageNetInception() if protocol == "eat" else FidInception()
    resized = net.resized(frames_of(inputs))
    wide = net.normalised(resized)[0].movedim(0, -1).numpy()
    small = resized[0].movedim(0, -1).numpy()
    mean = small.mean((0, 1), dtype=np.float64)
    if protocol == "eat":
        inner = pixels(wide, expected, "inner_network_input_")
        return inner | {
            "after_resize": {"mean_per_channel_BGR": mean} | pixels(small, expected["after_resize"])
        }
    found = pixels(small, expected, "tf1_resize_") | pixels(wide, expected, "normalised_")
    return found | {"mean_per_channel_RGB": mean}


def fid_features_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    features = inception()(torch.cat([frames_of(each) for each in inputs["images"]])).numpy()
    return summary(features) | {"first5": features[0, :5]}


def summary(array: np.ndarray) -> dict[str, Any]:
    return {"array": array, "mean": array.mean(), "std": array.std()}


def fid_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    metric, clips = FID(inception()), paired_clips(inputs)
    used = [pairing.fid_frames(len(fake)) for fake, _ in clips]
    for (fake, gt), at in zip(clips, used, strict=True):
        metric.update(fake[at], real=False)
        metric.update(gt[at], real=True)
    return {
        "fid": metric.compute().item(),
        "samples": metric.num_images[0],
        "frames_used": [at.tolist() for at in used],
    }


def marks_of(inputs: dict[str, Any], lengths: pairing.Lengths) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides, paired, and which frames count."""
    fake, gt = (torch.from_numpy(made(inputs[side])) for side in ("fake", "gt"))
    i, j = pairing.frame_pairs(len(fake), len(gt), lengths=lengths)
    valid = torch.ones(len(i), dtype=torch.bool)
    valid[inputs.get("undetected_frames", [])] = False
    return fake[i], gt[j], valid


def lmd_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    fake, gt, valid = marks_of(inputs, "stretch")
    face, mouth = landmarks.FACE, landmarks.MOUTH
    return {
        "m_lmd": landmarks.lmd(fake, gt, mouth, valid=valid),
        "f_lmd": landmarks.lmd(fake, gt, face, valid=valid),
        "m_lvd": landmarks.lvd(fake, gt, mouth, valid=valid),
        "f_lvd_correct": landmarks.lvd(fake, gt, face, valid=valid),
        "f_lvd_as_published": landmarks.f_lvd_published_bug(fake, gt, valid=valid),
        "valid": int(valid.sum()),
        # A face twice as large is further by its mean radius.
        "mean_radius_mouth": landmarks.lmd(2 * gt, gt, mouth, valid=valid),
        "mean_radius_face": landmarks.lmd(2 * gt, gt, face, valid=valid),
    }


def nme_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    fake, gt, valid = marks_of(inputs, "cut")
    return {
        "m_nme": landmarks.nme(fake, gt, landmarks.MOUTH, valid=valid),
        "f_nme": landmarks.nme(fake, gt, landmarks.FACE, valid=valid),
        "f_nme_uncentred": landmarks.nme(fake, gt, landmarks.FACE, centred=False, valid=valid),
    }


def sync_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    video = made(inputs["video_features"])
    audio = evaluated(inputs["audio_features"], video_features=video)
    sides = torch.from_numpy(video), torch.from_numpy(audio)
    return lse.score(lse.distances(*sides, padding=PADDING[protocol], max_offset=inputs["vshift"]))._asdict()


def mfcc_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    rows = mfcc(made(inputs))
    return summary(rows) | {"shape": list(rows.shape), "row0": rows[0], "row_last": rows[-1]}


def syncnet_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    net, frames = hash_fill(LseSyncNet()), to_frames(made(inputs["video"])[..., ::-1])
    sound = made(case(inputs["audio"].split()[1])["inputs"])
    count = lse.num_windows(len(frames), len(sound))
    video = net.video(lse.picture_windows(frames, count)).numpy()
    audio = net.audio(lse.sound_windows(sound, count)).numpy()
    return {
        "windows": count,
        "video": video,
        "audio": audio,
        "video_first5": video[0, :5],
        "audio_first5": audio[0, :5],
    }


def emotion_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    net = emotion_fan()
    if "images" in inputs:
        faces = torch.cat([frames_of(each) for each in inputs["images"]])
        features = net.frames(faces.float() / 255)
        return summary(features.numpy()) | {"std": features.std().item()}  # torch's, of n - 1
    features = torch.from_numpy(evaluated(inputs["frame_features"])).float()
    published = net.clip(features, beta_in_numerator=False)
    return {
        "logits_published_eval": published.numpy(),
        "logits_train_form": net.clip(features, beta_in_numerator=True).numpy(),
        "argmax": int(published.argmax()),
    }


def statistics_of(inputs: dict[str, Any], protocol: str, expected: Any) -> Any:
    i = np.arange(inputs["n"])
    x = evaluated(inputs["x"], i=i)
    y = evaluated(inputs["y"], i=i, x=x)
    seed, resamples = re.search(r"default_rng\((\d+)\).*\((\d+),n\)", inputs["bootstrap"]).groups()
    return paired_tests(y - x)._asdict() | {
        "diff_ci95": interval_of(y - x, int(resamples), int(seed)),
        "x_ci95": interval_of(x, int(resamples), int(seed)),
    }


def interval_of(values: np.ndarray, resamples: int, seed: int) -> list[float]:
    boot = Bootstrap([str(i) for i in range(len(values))], resamples=resamples, seed=seed)
    found = interval(values.mean(), boot.means(values[None])[0])
    return [found.low, found.high]


HANDLERS: dict[str, Callable[[dict[str, Any], str, Any], Any]] = {
    "psnr": psnr_of,
    "ssim": ssim_of,
    "psnr ssim": quality_of,
    "frame_index": frame_index_of,
    "align128": align128_of,
    "align224": align224_of,
    "frechet": frechet_of,
    "fid_input": fid_input_of,
    "fid_features": fid_features_of,
    "fid": fid_of,
    "m_lmd f_lmd": lmd_of,
    "m_nme f_nme": nme_of,
    "offset lse_c": sync_of,
    "mfcc": mfcc_of,
    "syncnet": syncnet_of,
    "emotion": emotion_of,
    "statistics": statistics_of,
}


@pytest.mark.parametrize("name", [each["id"] for each in golden()["cases"]])
@torch.no_grad()
def test_golden(name: str) -> None:
    about = case(name)
    metric = about["metric"]
    handler = HANDLERS[metric if isinstance(metric, str) else " ".join(metric[:2])]
    check(
        name, handler(about["inputs"], about["protocol"], about["expected"]), about["expected"], about["tol"]
    )


@cache
def published() -> dict[str, np.ndarray]:
    """The published clips' columns: names as text, all else as float64."""
    with beside(golden()["published_mead100"]["file"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = ("clip", "identity", "emotion", "level", "sentence")
    return {name: np.array([row[name] for row in rows], None if name in texts else float) for name in rows[0]}


def test_the_published_row() -> None:
    """What needs frame counts or images (PSNR and SSIM over frames, FID) cannot be recomputed from clips."""
    columns, row = published(), golden()["published_mead100"]
    means = {
        "clips": len(columns["clip"]),
        "offset_all_clips": int(np.unique(columns["offset"]).item()),
        "lse_c_float32": float(np.asarray(columns["lse_c"], np.float32).mean()),  # as the release takes it
        "lse_c_float64": mean_of(columns["lse_c"][None]),
        "lse_d": mean_of(columns["lse_d"][None]),
    }
    for key in ("psnr", "ssim", "m_lmd", "f_lmd", "m_lvd", "f_lvd_as_published"):
        name = f"{key}_clip_mean" if key in ("psnr", "ssim") else key
        means[name] = mean_of(columns[key][None])
    check("published_mead100", means, {key: row["expected"][key] for key in means}, 1e-12)
    np.testing.assert_allclose(columns["f_lvd_as_published"], columns["m_lvd"] * 20 / 68, rtol=1e-12)


def test_the_published_rows_intervals() -> None:
    columns, row = published(), golden()["published_mead100"]
    (key,) = [key for key in row if key.startswith("clip_bootstrap_ci95")]
    resamples, seed = (int(number) for number in re.fullmatch(r"\w+_ci95_(\d+)_seed(\d+)", key).groups())
    check(
        "published_mead100 ci95",
        {name: interval_of(columns[name], resamples, seed) for name in row[key]},
        row[key],
        1e-9,
    )


def test_the_published_clip_list() -> None:
    names = "".join(f"{name}\n" for name in sorted(published()["clip"]))
    assert hashlib.sha256(names.encode()).hexdigest() == CLIP_LIST_SHA256


def accuracy_percent(correct: list[int], totals: list[int]) -> float:
    """Micro accuracy of clips of which so many of each class are judged as their label."""
    labels = np.repeat(np.arange(len(totals)), totals)
    said = np.concatenate(
        [
            np.where(np.arange(n) < right, c, -1)
            for c, (n, right) in enumerate(zip(totals, correct, strict=True))
        ]
    )
    return 100 * float(emotion.hits(said, labels).mean())


def test_the_published_accuracies() -> None:
    about = golden()["published_emotion_985"]
    totals, truth = about["clips_per_class_985"], about["ground_truth_row"]
    found = {name: accuracy_percent(correct, totals) for name, correct in about["correct"].items()}
    check("published_emotion_985", found, about["accuracy_micro"], 1e-9)
    assert round(accuracy_percent([truth["correct"]], [truth["clips"]]), 2) == truth["percent"]
    assert sum(totals) == truth["clips"]


def test_scipy_agrees_on_the_paired_tests() -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, 30)
    found = paired_tests(differences)
    assert found.t_p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=1e-12)
