"""Films: what was put in is seen and heard, the mark is there or the sidecar says that it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from eatlab.data.audio_features import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from eatlab.experiment.video import ENCODERS, GENERATED_LABEL, Film, Panel, compose, write_film

NUM_FRAMES = 15


def frames(seed: int, size: tuple[int, int] = (32, 30)) -> np.ndarray:
    """A smooth picture that brightens: (n, height, width, 3) uint8."""
    light = np.linspace(60, 200, NUM_FRAMES)[:, None, None, None]
    hue = np.array([1.0, 0.8, 0.5]) if seed else np.array([0.5, 0.8, 1.0])
    slope = np.linspace(0.7, 1.0, size[1])[None, None, :, None]
    return np.broadcast_to(light * slope * hue, (NUM_FRAMES, *size, 3)).astype(np.uint8)


def tone(hz: float = 440.0) -> np.ndarray:
    time = np.arange(SAMPLES_PER_FRAME * NUM_FRAMES) / SAMPLE_RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def film() -> Film:
    return Film("happy", "a caption", (Panel("truth", frames(0)), Panel("deep_prompt", frames(1))), tone())


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, h, w, 3) and sound (samples,) of a file."""
    with av.open(str(path)) as container:
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return pictures, sound


def test_a_player_sees_the_frames_that_were_written(tmp_path: Path) -> None:
    written = write_film(film(), tmp_path)
    pictures, _ = decoded(written.path)
    expected = compose(film())
    assert pictures.shape == expected.shape
    assert np.abs(pictures.astype(int) - expected).mean() < 3


def test_a_player_hears_the_sound_that_was_written(tmp_path: Path) -> None:
    _, sound = decoded(write_film(film(), tmp_path).path)
    assert abs(len(sound) - len(tone())) <= 2 * 1024
    loudest = np.abs(np.fft.rfft(sound)).argmax() * SAMPLE_RATE_HZ / len(sound)
    assert loudest == pytest.approx(440, abs=5)
    assert np.abs(sound[2048:-2048]).max() == pytest.approx(0.4, abs=0.05)


def test_the_file_is_h264_and_aac_that_browsers_play_while_it_loads(tmp_path: Path) -> None:
    path = write_film(film(), tmp_path).path
    with av.open(str(path)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.pix_fmt) == ("h264", "yuv420p")
        assert (picture.average_rate, picture.frames) == (25, NUM_FRAMES)
        assert (sound.codec_context.name, sound.rate) == ("aac", SAMPLE_RATE_HZ)
        assert container.metadata["comment"] == GENERATED_LABEL
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_sidecar_says_what_the_film_is(tmp_path: Path) -> None:
    written = write_film(film(), tmp_path, provenance={"record": "1a2b3c4d", "file": Path("x")})
    said = json.loads(written.sidecar.read_text())
    assert written.sidecar == tmp_path / "happy.json"
    assert said["sha256"] == hashlib.sha256(written.path.read_bytes()).hexdigest()
    assert said["provenance"] == {"record": "1a2b3c4d", "file": "x"}
    assert said["panels"] == ["truth", "deep_prompt"]
    assert said["label_visible"] is True
    assert said["generated_by"] == GENERATED_LABEL


def test_the_mark_can_be_switched_off_and_the_sidecar_says_so(tmp_path: Path) -> None:
    marked, plain = compose(film()), compose(film(), visible_label=False)
    below = marked[:, plain.shape[1] :]
    assert (marked[:, : plain.shape[1]] == plain).all()
    assert (below < 200).any()
    written = write_film(film(), tmp_path, visible_label=False)
    assert written.label_visible is False
    assert json.loads(written.sidecar.read_text())["label_visible"] is False


def test_sides_are_even_whatever_the_faces_are() -> None:
    odd = Film("odd", "", (Panel("a", frames(0, (31, 33))),), tone())
    assert all(side % 2 == 0 for side in compose(odd, scale=1).shape[1:3])


def test_panels_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="'odd': its panels"):
        Film("odd", "", (Panel("a", frames(0)), Panel("b", frames(0)[1:])), tone())


def test_sound_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="15 frames need"):
        Film("short", "", (Panel("a", frames(0)),), tone()[:-1])


def test_without_x264_the_next_encoder_is_taken_and_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - set(ENCODERS[:-1]))
    written = write_film(film(), tmp_path)
    assert written.codec == "mpeg4"
    assert json.loads(written.sidecar.read_text())["codec"] == "mpeg4"
    assert len(decoded(written.path)[0]) == NUM_FRAMES
