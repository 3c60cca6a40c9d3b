"""Shards: same clips, same bytes; stock readers read them; what is torn or hostile is named and refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eatlab.data import members, shards
from eatlab.data.members import Sample
from eatlab.data.samples import Clip
from eatlab.data.shards import data_fingerprint, has_shards, read_index, read_shards, write_shards
from eatlab.errors import ExitCode, UserError

SIZE = 12
RECIPE = {"name": "test", "version": 1}


def make_clip(number: int, *, split: str = "train", twin: bool = False) -> Clip:
    rng = np.random.default_rng(number)
    n, num_frames = 3, 5
    return Clip(
        key=f"toy_P{number:03d}",
        identity=f"P{number % 2:03d}",
        split=split,
        emotion=None if number == 3 else "happy",
        level=None if number == 3 else 2,
        intensity=0.75,
        num_frames=num_frames,
        at=np.array([1, 2, 4]),
        frames=rng.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8),
        audio=rng.uniform(-1, 1, 640 * num_frames).astype(np.float32),
        truth={
            "landmarks": rng.normal(size=(n, 68, 2)).astype(np.float32),
            "mask": rng.random((n, SIZE, SIZE)) > 0.5,
        },
        twin_frames=rng.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8) if twin else None,
        twin_truth={"pose": rng.normal(size=(n, 7))} if twin else {},
        meta={"domain": "puppets", "crop": {"box": [0, 1, 2, 3]}},
    )


CLIPS = [make_clip(number, twin=number == 1) for number in range(5)]


def write(folder: Path, clips: list[Clip] | list[Sample] = CLIPS, per_shard: int = 2) -> Path:
    write_shards(folder, "toy", "train", clips, per_shard=per_shard, recipe=RECIPE)
    return folder


def tar_of(folder: Path, number: int = 0) -> Path:
    return folder / f"toy-train-base-{number:06d}.tar"


def test_clips_come_back_as_they_were(tmp_path: Path) -> None:
    back = list(read_shards(write(tmp_path), "toy", "train"))
    assert [clip.key for clip in back] == [clip.key for clip in CLIPS]
    for clip, again in zip(CLIPS, back, strict=True):
        for name in ("identity", "split", "emotion", "level", "intensity", "num_frames", "meta"):
            assert getattr(again, name) == getattr(clip, name)
        np.testing.assert_array_equal(again.at, clip.at)
        np.testing.assert_array_equal(again.frames, clip.frames)
        assert np.abs(again.audio - clip.audio).max() <= 1 / 32768  # PCM16; +1.0 becomes 32767
        assert (again.twin_frames is None) == (clip.twin_frames is None)
        for rows, rows_again in ((clip.truth, again.truth), (clip.twin_truth, again.twin_truth)):
            assert rows.keys() == rows_again.keys()
            for name, row in rows.items():
                assert rows_again[name].dtype == row.dtype
                np.testing.assert_array_equal(rows_again[name], row)


def test_what_was_read_is_written_again_to_the_byte(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    second = write(tmp_path / "b", list(read_shards(first, "toy", "train")))
    assert tar_of(first).read_bytes() == tar_of(second).read_bytes()
    assert data_fingerprint(first, "toy", "train") == data_fingerprint(second, "toy", "train")


def test_the_same_clips_give_the_same_bytes_encoded_elsewhere_or_here(tmp_path: Path) -> None:
    here = write(tmp_path / "here")
    elsewhere = write(tmp_path / "elsewhere", [members.encode(clip, "toy") for clip in CLIPS])
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in elsewhere.iterdir())
    assert all((here / name).read_bytes() == (elsewhere / name).read_bytes() for name in names)


def test_the_fingerprint_follows_the_content_and_not_the_machine(tmp_path: Path) -> None:
    changed = write(tmp_path / "changed", [replace(CLIPS[0], intensity=0.5), *CLIPS[1:]])
    folder = write(tmp_path / "a")
    before = data_fingerprint(folder, "toy", "train")
    assert len(before) == 16
    assert data_fingerprint(changed, "toy", "train") != before
    index = json.loads(shards.index_path(folder, "toy", "train").read_bytes())
    assert shards.fingerprint_of({**index, "host": {"tools": "others"}}) == before


def test_stock_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(tar_of(write(tmp_path))), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == ["toy_P000", "toy_P001"]
    assert samples[0]["json"]["emotion"] == "happy"
    np.testing.assert_array_equal(samples[0]["truth.landmarks.npy"], CLIPS[0].truth["landmarks"])


def test_tars_carry_no_time_owner_or_machine(tmp_path: Path) -> None:
    with tarfile.open(tar_of(write(tmp_path))) as tar:
        entries = tar.getmembers()
    assert entries[0].name == "toy_P000.json"
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in entries} == {(0, 0, 0, "", "", 0o444)}


def test_the_index_counts_what_is_there(tmp_path: Path) -> None:
    index = read_index(write(tmp_path), "toy", "train")
    assert (index["samples"], index["frames"], index["recipe"]) == (5, 15, RECIPE)
    assert index["counts"]["emotion"] == {"None": 1, "happy": 4}
    assert [shard["samples"] for shard in index["shards"]] == [2, 2, 1]


def test_absent_shards_are_asked_for_by_name(tmp_path: Path) -> None:
    write(tmp_path)
    assert has_shards(tmp_path, "toy", "train")
    assert not has_shards(tmp_path, "toy", "test")
    with pytest.raises(UserError, match=r"toy-test.*there are: toy-train") as caught:
        list(read_shards(tmp_path, "toy", "test"))
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "clip",
    [
        replace(CLIPS[0], key="a.b"),
        replace(CLIPS[0], key="../a"),
        replace(CLIPS[0], key="a" * 73),
        replace(CLIPS[0], emotion="calm"),
        replace(CLIPS[0], intensity=1.5),
        replace(CLIPS[0], audio=CLIPS[0].audio[1:]),
        replace(CLIPS[0], at=np.array([0, 1, 5])),
        replace(CLIPS[0], truth={"pose": np.zeros((2, 7))}),
        replace(CLIPS[0], truth={"pose": np.array([object()] * 3)}),
        replace(CLIPS[0], meta={"key": "other"}),
        replace(CLIPS[0], split="test"),
    ],
)
def test_a_clip_against_the_grammar_is_never_written(tmp_path: Path, clip: Clip) -> None:
    with pytest.raises((ValueError, TypeError)):
        write(tmp_path, [clip])
    assert not has_shards(tmp_path, "toy", "train")


def test_the_same_key_twice_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        write(tmp_path, [CLIPS[0], CLIPS[0]])


# Damage: exit 4, with shard, sample and remedy


def damaged(folder: Path, match: str, **options: object) -> None:
    with pytest.raises(UserError, match=match) as caught:
        list(read_shards(folder, "toy", "train", **options))  # type: ignore[arg-type]
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_one_flipped_bit_is_found_and_the_shard_named(tmp_path: Path) -> None:
    data = bytearray(tar_of(write(tmp_path), 1).read_bytes())
    data[len(data) // 2] ^= 1
    tar_of(tmp_path, 1).write_bytes(data)
    damaged(tmp_path, r"toy-train-base-000001.tar is damaged; .*; delete the folder .* made again")
    damaged(tmp_path, "run make data", remedy="run make data")


def test_a_tar_cut_at_a_member_boundary_is_found_even_without_checksums(tmp_path: Path) -> None:
    path = tar_of(write(tmp_path))
    with tarfile.open(path) as tar:
        boundary = tar.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:boundary])
    damaged(tmp_path, "bytes, the index says")
    damaged(tmp_path, "bytes, the index says", verify=False)


def test_a_missing_shard_is_found(tmp_path: Path) -> None:
    tar_of(write(tmp_path), 2).unlink()
    damaged(tmp_path, "000002.tar is damaged; it is missing")


def test_an_edited_index_is_found(tmp_path: Path) -> None:
    path = shards.index_path(write(tmp_path), "toy", "train")
    path.write_text(path.read_text().replace('"samples": 5', '"samples": 4'))
    damaged(tmp_path, "fingerprint")
    path.write_text("{")
    damaged(tmp_path, "no index")


def test_a_sample_whose_member_was_changed_is_named(tmp_path: Path) -> None:
    samples = [members.encode(clip, "toy") for clip in CLIPS[:1]]
    samples[0].members["wav"] = members.encode_sound(np.zeros(3200, np.float32))
    damaged(write(tmp_path, samples), "sample toy_P000 is damaged; member wav")
    assert len(list(read_shards(tmp_path, "toy", "train", verify=False))) == 1


# Hostile tars: exit 3. The index is the attacker's too, so that only the contents can give him away.


def plant(folder: Path, entries: list[tuple[tarfile.TarInfo, bytes]], pax: bool = False) -> Path:
    stream = io.BytesIO()
    form = tarfile.PAX_FORMAT if pax else tarfile.USTAR_FORMAT
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    folder.mkdir(exist_ok=True)
    data = stream.getvalue()
    tar_of(folder).write_bytes(data)
    shard = {"name": tar_of(folder).name, "bytes": len(data), "sha256": members.sha256(data), "samples": 1}
    index: dict[str, object] = {"schema": members.SCHEMA, "shards": [{**shard, "keys": ["toy_P000"]}]}
    index["fingerprint"] = shards.fingerprint_of(index)
    shards.index_path(folder, "toy", "train").write_text(json.dumps(index))
    return folder


def entry(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def whole(clip: Clip = CLIPS[0], **changed: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    sample = members.encode(clip, "toy").members
    sample |= {suffix.replace("__", "."): data for suffix, data in changed.items()}
    described = json.loads(sample["json"])
    described["sha256"] = {s: members.sha256(data) for s, data in sample.items() if s != "json"}
    sample["json"] = members.canonical_json(described)
    return [entry(f"{clip.key}.{suffix}", data) for suffix, data in sample.items()]


def object_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{}, []], dtype=object), allow_pickle=True)
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    png = bytearray(members.encode_strip(CLIPS[0].frames))
    png[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(png)


HOSTILE = {
    "pickle": [entry("toy_P000.pkl", pickle.dumps(1))],
    "weights": [entry("toy_P000.pth")],
    "way out of the folder": [entry("../../toy.json")],
    "absolute name": [entry("/toy_P000.json")],
    "no suffix": [entry("toy_P000")],
    "meta": [entry("__meta__.json.gz")],
    "symbolic link": [entry("toy_P000.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "device": [entry("toy_P000.json", b"", type=tarfile.CHRTYPE)],
    "sparse file": [entry("toy_P000.json", b"", type=tarfile.GNUTYPE_SPARSE)],
    "member twice": [entry("toy_P000.json"), entry("toy_P000.json")],
    "interleaved": [*whole(), *whole(CLIPS[1]), *whole()],
    "objects in an array": whole(truth__evil__npy=object_array()),
    "picture bomb": whole(frames__png=png_that_claims(4000, 400_000)),
    "huge picture": whole(frames__png=png_that_claims(100_000, 300_000)),
    "jpeg as frames": whole(frames__png=b"\xff\xd8\xff" * 100),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_tars_are_refused(tmp_path: Path, attack: str) -> None:
    with pytest.raises(UserError, match="refused") as caught:
        list(read_shards(plant(tmp_path, HOSTILE[attack]), "toy", "train"))
    assert caught.value.code == ExitCode.UNSAFE_FILE


def test_long_name_headers_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="refused") as caught:
        list(read_shards(plant(tmp_path, [entry("a" * 300 + ".json")], pax=True), "toy", "train"))
    assert caught.value.code == ExitCode.UNSAFE_FILE


def test_a_member_that_claims_more_than_it_may_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("toy_P000.json")
    info.size = 200 << 30
    path = tmp_path / "claims.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with open(path, "rb") as file, pytest.raises(members.RefusedError, match="claims"):
        list(shards.read_members(file, path.stat().st_size))


def test_an_index_that_names_other_files_is_refused(tmp_path: Path) -> None:
    index = json.loads(shards.index_path(write(tmp_path), "toy", "train").read_bytes())
    index["shards"][0]["name"] = "../secret.tar"
    index["fingerprint"] = shards.fingerprint_of(index)
    shards.index_path(tmp_path, "toy", "train").write_text(json.dumps(index))
    with pytest.raises(UserError, match="names files") as caught:
        list(read_shards(tmp_path, "toy", "train"))
    assert caught.value.code == ExitCode.UNSAFE_FILE


# Disk full: nothing half-written is left


@pytest.mark.parametrize("writes_before", [0, 1, 2, 3])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes_before: int
) -> None:
    left = [writes_before]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="the disk is full"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_written_again_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=r"must match"):
        write(tmp_path, [CLIPS[0], replace(CLIPS[1], key="a.b")])
    assert not has_shards(tmp_path, "toy", "train")
