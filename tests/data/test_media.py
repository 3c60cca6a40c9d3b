"""Footage and sound: 25 frames a second by timestamps, 16 kHz mono; the square around a face."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eatlab.data import crop, media
from eatlab.data.media import FootageError

av = pytest.importorskip("av")

SIDE = 32


def film(
    path: Path,
    times_s: list[float],
    *,
    sound: np.ndarray | None = None,
    sound_rate_hz: int = 16_000,
    codec: str = "ffv1",
) -> Path:
    """A lossless film whose i-th picture is grey of value 2·i, shown from times_s[i]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 10_000)
        voice = None
        if sound is not None:
            voice = container.add_stream(
                "pcm_s16le", rate=sound_rate_hz, layout="stereo" if len(sound) == 2 else "mono"
            )
        for number, time in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), 2 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 10_000), Fraction(1, 10_000)
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
        if voice is not None and sound is not None:
            samples = np.ascontiguousarray((sound.T.reshape(1, -1) * 32767).astype(np.int16))
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout=voice.layout.name)
            piece.rate, piece.pts = sound_rate_hz, 0
            container.mux(voice.encode(piece))
            container.mux(voice.encode())
    return path


def shown(path: Path) -> list[int]:
    """The picture's number at each place."""
    places: list[int] = []
    for start, stop, frame in media.show(path):
        assert start == len(places)
        places += [round(float(media.picture(frame).mean()) / 2)] * (stop - start)
    return places


def nearest_by_hand(times_s: list[float], end_s: float) -> list[int]:
    """The last picture whose rounded place is not after k, for each k before the end."""
    places = [int(np.floor(time * 25 + 0.5)) for time in times_s]
    return [
        max(i for i, place in enumerate(places) if place <= k) for k in range(int(np.floor(end_s * 25 + 0.5)))
    ]


@pytest.mark.parametrize("rate", [25.0, 24.0, 30.0, 29.97, 50.0, 12.5])
def test_any_rate_becomes_25_frames_a_second_by_timestamps(tmp_path: Path, rate: float) -> None:
    times = [i / rate for i in range(round(rate * 2))]
    places = shown(film(tmp_path / "film.mkv", times))
    wanted = nearest_by_hand(times, times[-1] + 0.04)
    shorter = min(len(places), len(wanted))
    assert places[:shorter] == wanted[:shorter]
    assert abs(len(places) - 50) <= 1


def test_a_variable_rate_is_followed_not_averaged(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.50, 0.54, 0.90]
    places = shown(film(tmp_path / "film.mkv", times))
    assert places[:23] == [0, 1] + [2] * 11 + [3] + [4] * 9
    assert places[23:] == [5] * len(places[23:])


def test_a_film_that_starts_late_starts_at_its_first_frame(tmp_path: Path) -> None:
    assert shown(film(tmp_path / "film.mkv", [1.0 + i / 25 for i in range(5)])) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_sound_of_any_rate_becomes_16_khz(tmp_path: Path, rate_hz: int) -> None:
    time = np.arange(rate_hz) / rate_hz
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)[None]
    sound = media.read_sound(film(tmp_path / "film.mkv", [0.0, 0.04], sound=tone, sound_rate_hz=rate_hz))
    assert abs(len(sound) - 16_000) <= 32
    inside = sound[1000:15_000]
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(1000, 15_000) / 16_000)
    assert np.abs(inside - wanted).max() < 0.02


def test_two_channels_are_averaged_and_a_silent_one_is_left_out() -> None:
    loud, other = np.full(100, 0.4, np.float32), np.full(100, 0.2, np.float32)
    np.testing.assert_allclose(media.downmix(np.stack([loud, other])), 0.3, atol=1e-7)
    np.testing.assert_allclose(media.downmix(np.stack([0 * loud, other])), 0.2, atol=1e-7)
    np.testing.assert_array_equal(media.downmix(np.zeros((2, 5))), 0)


def test_sound_is_cut_or_padded_to_the_frames_and_never_stretched() -> None:
    ramp = np.linspace(-1, 1, 6400, dtype=np.float32)
    np.testing.assert_array_equal(media.fit_sound(ramp, 9), ramp[:5760])
    padded = media.fit_sound(ramp, 11)
    np.testing.assert_array_equal(padded[:6400], ramp)
    np.testing.assert_array_equal(padded[6400:], 0)
    with pytest.raises(FootageError, match="av_mismatch"):
        media.fit_sound(ramp, 16)


def test_a_shift_moves_the_sound_against_the_picture() -> None:
    ramp = np.arange(1, 6, dtype=np.float32)
    np.testing.assert_array_equal(media.shift(ramp, 2), [0, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(media.shift(ramp, -2), [3, 4, 5])


def test_silence_is_judged_by_the_loudest_half_second() -> None:
    quiet = np.full(32_000, 1e-4, np.float32)
    with pytest.raises(FootageError, match="silent"):
        media.check_audible(quiet)
    quiet[10_000:18_000] = 0.1
    media.check_audible(quiet)
    assert media.loudest_dbfs(quiet) == pytest.approx(-20, abs=1e-3)
    with pytest.raises(FootageError, match="digital silence"):
        media.check_audible(np.zeros(100, np.float32))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "lfs_pointer"),
        (b"not a film", "corrupt"),
        (b"", "corrupt"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/a.ts\n", "corrupt"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "corrupt"),
    ],
)
def test_what_is_no_film_gets_its_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(FootageError) as caught:
        list(media.show(path))
    assert caught.value.reason == reason


def test_a_film_without_sound_and_a_sound_without_film_get_their_reasons(tmp_path: Path) -> None:
    mute = film(tmp_path / "mute.mkv", [0.0, 0.04])
    assert not media.describe_video(mute)["has_sound"]
    with pytest.raises(FootageError, match="no_audio"):
        media.read_sound(mute)
    import soundfile

    soundfile.write(tmp_path / "sound.wav", np.zeros(100), 16_000)
    with pytest.raises(FootageError, match="no_video"):
        list(media.show(tmp_path / "sound.wav"))


def test_a_film_that_breaks_off_is_corrupt(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [i / 25 for i in range(50)], codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FootageError, match="corrupt"):
        list(media.show(path))


def test_half_of_a_film_whose_stream_tells_no_length_is_corrupt_too(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [i / 25 for i in range(50)], codec="mpeg4")
    assert len(shown(path)) == 50
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FootageError, match=r"corrupt: its picture breaks off at \d\.\d\d of 2\.00 s"):
        list(media.show(path))


def test_a_tag_that_is_no_utf_8_hides_no_sound(tmp_path: Path) -> None:
    samples = np.zeros(16_000, "<i2").tobytes()
    tag = b"IART" + (12).to_bytes(4, "little") + "René Müller".encode("latin-1") + b"\0"
    chunks = b"fmt " + (16).to_bytes(4, "little") + bytes.fromhex("01000100803e0000007d000002001000")
    chunks += b"LIST" + (4 + len(tag)).to_bytes(4, "little") + b"INFO" + tag
    chunks += b"data" + len(samples).to_bytes(4, "little") + samples
    path = tmp_path / "tagged.wav"
    path.write_bytes(b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WAVE" + chunks)
    assert len(media.read_sound(path)) == 16_000


def test_sound_whose_channels_change_midway_is_read_to_its_end(tmp_path: Path) -> None:
    pieces = []
    for layout, channels in (("mono", 1), ("stereo", 2)):
        path = tmp_path / f"{layout}.aac"
        with av.open(str(path), "w", format="adts") as container:
            stream = container.add_stream("aac", rate=16_000, layout=layout)
            tone = np.sin(np.arange(16_000) / 9, dtype=np.float32)[None].repeat(channels, 0)
            frame = av.AudioFrame.from_ndarray(0.5 * tone, format="fltp", layout=layout)
            frame.rate, frame.pts = 16_000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        pieces.append(path.read_bytes())
    path = tmp_path / "both.aac"
    path.write_bytes(b"".join(pieces))
    assert len(media.read_sound(path)) == pytest.approx(32_000, abs=4096)


# The crop


def corners(min_x: float, max_x: float, min_y: float, max_y: float) -> np.ndarray:
    return np.array([[min_x, min_y], [max_x, max_y]])


@pytest.mark.parametrize(
    ("extent", "size", "box"),
    [
        ((800, 1100, 350, 700), (1920, 1080), (635, 122, 1265, 752)),
        ((60, 160, 60, 180), (256, 256), (5, 0, 215, 210)),
        ((10, 110, 5, 130), (224, 224), (0, 0, 210, 210)),
        ((60, 170, 70, 200), (224, 224), (0, 0, 224, 224)),
    ],
)
def test_the_box_is_eats(extent: tuple[float, ...], size: tuple[int, int], box: tuple[int, ...]) -> None:
    """Worked examples of EAT's released preprocessing (data.md 2.2)."""
    assert crop.eat_box(corners(*extent), size).corners == box


def test_a_box_that_does_not_fit_shrinks_and_stays_square() -> None:
    """EAT squeezes 1262×1080 here."""
    box = crop.eat_box(corners(900, 1501, 200, 800), (1920, 1080))
    assert box.corners == (660, 0, 1740, 1080)
    assert box.share == pytest.approx(1080 / 1262.1, abs=1e-3)


def test_a_framed_box_keeps_its_size_and_repeats_the_edges() -> None:
    image = np.full((40, 40, 3), 7, np.uint8)
    image[0] = 200
    box = crop.framed_box(corners(10, 30, 5, 30), (40, 40), jaw_widths=2.1)
    assert (box.side, box.top) == (42, -10)
    cropped = crop.cut(image, box, 42)
    assert cropped.shape == (42, 42, 3)
    assert (cropped[:10] == 200).all()
    assert (cropped[12:] == 7).all()


def test_landmarks_follow_the_picture_into_the_crop() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[100:104, 150:154] = 255
    box = crop.Box(100, 8, 192, 192, 1.0)
    y, x = np.argwhere(crop.cut(image, box, 96)[..., 0] > 128).mean(axis=0)
    np.testing.assert_allclose(crop.into_crop(np.array([151.5, 101.5]), box, 96), [x, y], atol=1e-9)
    np.testing.assert_allclose(crop.into_crop(np.array([99.5, 7.5]), box, 96), [-0.5, -0.5])


def test_small_squares_count_as_cropped_before() -> None:
    assert crop.is_cropped((256, 256))
    assert not crop.is_cropped((1920, 1080))
    assert not crop.is_cropped((1024, 1024))
