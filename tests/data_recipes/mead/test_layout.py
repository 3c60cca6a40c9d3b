"""Names of MEAD: every spelling of the layout is read, other names are no clips."""

from __future__ import annotations

import os
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
        "M003/audio/angry/level_3/001.m4a",
    )
    touch(tmp_path, "secret.mp4")
    (tree / "M003/video/front/angry/level_3/002.mp4").symlink_to(tmp_path / "secret.mp4")
    found = layout.scan(tree)
    assert [take.key for take in found.takes] == ["mead_M003_front_angry_3_001"]
    assert (found.other_views, dict(found.others)) == (1, {".txt": 1})
    assert found.links == ("M003/video/front/angry/level_3/002.mp4",)
    assert found.ignored().startswith("1 of other views, .txt 1, 1 links that lead out of the folder, not")


def test_a_folder_of_links_says_why_nothing_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "disk/M003/video/front/sad/level_1/001.mp4")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/M003").symlink_to(tmp_path / "disk/M003")
    with pytest.raises(UserError, match=r"no files, and 1 links that lead out .*: put the files there"):
        layout.scan(tmp_path / "tree")


def test_a_link_to_itself_is_no_file_and_no_end_of_the_search(tmp_path: Path) -> None:
    touch(tmp_path, "M003/video/front/sad/level_1/001.mp4")
    (tmp_path / "loop").symlink_to("loop")
    assert len(layout.scan(tmp_path).takes) == 1


def test_a_name_that_is_no_utf_8_is_ignored_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "M003/video/front/sad/level_1/001.mp4")
    strange = os.fsencode(tmp_path) + b"/un\xe9"
    os.mkdir(strange)
    open(strange + b"/002.mp4", "wb").close()
    found = layout.scan(tmp_path)
    assert [take.clip for take in found.takes] == ["001"]
    assert found.ignored() == "names that are not UTF-8 1"


def test_a_film_beside_is_a_sound_only_where_sounds_lie(tmp_path: Path) -> None:
    film, sound = "M003/video/front/sad/level_1/001.mov", "M003/audio/sad/level_1/001.mov"
    touch(tmp_path, film, sound)
    (take,) = layout.scan(tmp_path).takes
    assert (take.path, take.beside) == (film, sound)
    (tmp_path / sound).unlink()
    assert layout.scan(tmp_path).takes[0].beside is None


def test_a_wrong_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        layout.scan(tmp_path / "nowhere")
    touch(tmp_path, "file")
    with pytest.raises(UserError, match="is a file, not a folder"):
        layout.scan(tmp_path / "file")
    touch(tmp_path, "holiday/beach.mp4")
    with pytest.raises(UserError, match=r"tried: <id>/video.*there are: file, holiday/beach\.mp4") as caught:
        layout.scan(tmp_path)
    assert caught.value.code == ExitCode.BAD_INPUT
    with pytest.raises(UserError, match="source=FOLDER"):
        run(MeadConfig())
