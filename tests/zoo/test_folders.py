"""What is advised where a file of a folder is absent or damaged."""

from __future__ import annotations

from pathlib import Path

from eatlab.zoo.folders import RECORD, ZOO, remedy


def test_only_what_eatlab_ships_is_restored_with_git(tmp_path, monkeypatch):
    assert remedy(ZOO).startswith("restore it with git")
    monkeypatch.chdir(ZOO)
    assert remedy(Path()) == remedy(ZOO)
    assert remedy(tmp_path) == "train it anew with `make zoo`, or give another folder"


def test_an_import_is_made_again_elsewhere_for_its_folder_counts_as_done(tmp_path):
    (tmp_path / RECORD).write_text("{}")
    assert remedy(tmp_path) == "import the released files again with `eatlab import`, into a new folder"
