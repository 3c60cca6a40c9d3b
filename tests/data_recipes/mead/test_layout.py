"""Names of MEAD: every spelling of the layout is read, other names are no clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_recipes.mead import layout
from data_recipes.mead.recipe import MeadConfig, run
from eatlab.errors import ExitCode, UserError


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("M003/video/front/angry/level_3/001.mp4", "mead_M003_front_angry_3_001"),
        ("MEAD/Part0/W009/video/left_30/disgust/level_1/030.mp4", "mead_W009_left_30_disgusted_1_030"),
        ("M003_video/video/front/surprise/level_2/007.mp4", "mead_M003_front_surprised_2_007"),
        ("M003/happy_level_3/001.mp4", "mead_M003_front_happy_3_001"),
        ("M003/video/front/fear/level_3/001.MP4", "mead_M003_front_fear_3_001"),
        ("W015_hap_3_012.mp4", "mead_W015_front_happy_3_012"),
        ("flat/M030_front_neutral_level1_001.mp4", "mead_M030_front_neutral_1_001"),
        ("P0000007/video/front/sad/level_1/001.mp4", "mead_P0000007_front_sad_1_001"),
    ],
)
def test_every_spelling_of_the_layout_is_read(name: str, key: str) -> None:
    found = layout.match(name, layout.FILM_LAYOUTS)
    assert found is not None
    take = layout.read_name(name, found, {})
    assert isinstance(take, layout.Take)
    assert take.key == key


@pytest.mark.parametrize(
    "name", ["M003/001.mp4", "X003/video/front/angry/level_3/001.mp4", "M003/video/front/angry/1.txt"]
)
def test_other_names_are_no_clips(name: str) -> None:
    assert layout.match(name, layout.FILM_LAYOUTS) is None


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_sounds_beside_are_found_in_either_tree(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "M003/video/front/angry/level_3/001.mp4",
        "M003/audio/angry/level_3/001.m4a",
        "M003/video/front/sad/level_1/002.mp4",
        "M003/sad/level_1/002.wav",
        "M003/video/front/fear/level_1/003.mp4",
        "M003/audio/fear/level_1/003.foreign.wav",
    )
    takes = {take.emotion: take for take in layout.scan(tmp_path).takes}
    assert takes["angry"].beside == "M003/audio/angry/level_3/001.m4a"
    assert takes["sad"].beside == "M003/sad/level_1/002.wav"
    assert (takes["fear"].beside, takes["fear"].foreign) == (None, "M003/audio/fear/level_1/003.foreign.wav")


def test_hidden_files_other_views_and_links_out_are_left_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    touch(
        tree,
        "M003/video/front/angry/level_3/001.mp4",
        "M003/video/front/angry/level_3/._001.mp4",
        "__MACOSX/M003/video/front/angry/level_3/001.mp4",
        "M003/video/down/angry/level_3/001.mp4",
        "M003/notes.txt",
    )
    touch(tmp_path, "secret.mp4")
    (tree / "M003/video/front/angry/level_3/002.mp4").symlink_to(tmp_path / "secret.mp4")
    found = layout.scan(tree)
    assert [take.key for take in found.takes] == ["mead_M003_front_angry_3_001"]
    assert (found.other_views, dict(found.others)) == (1, {".txt": 1})


def test_a_wrong_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        layout.scan(tmp_path / "nowhere")
    touch(tmp_path, "holiday/beach.mp4")
    with pytest.raises(UserError, match=r"tried: <id>/video.*there are: holiday/beach\.mp4") as caught:
        layout.scan(tmp_path)
    assert caught.value.code == ExitCode.BAD_INPUT
    with pytest.raises(UserError, match="source=FOLDER"):
        run(MeadConfig())
