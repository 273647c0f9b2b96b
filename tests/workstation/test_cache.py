# SPDX-License-Identifier: Apache-2.0
"""What is in the cache is whole, and is built once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from balena_migrate.workstation.cache import cache_folder, cached, remove_others


def fill(folder: Path) -> None:
    (folder / "made").write_text("whole")


def test_is_made_once_for_a_recipe_and_again_for_another(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        fill(folder)

    first = cached(tmp_path, "thing", ("recipe", 1), make)
    assert cached(tmp_path, "thing", ("recipe", 1), make) == first
    assert cached(tmp_path, "thing", ("recipe", 2), make) != first
    assert len(made) == 2
    assert (first / "made").read_text() == "whole"


def test_what_failed_half_way_does_not_count_and_is_made_anew(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        cached(tmp_path, "thing", "recipe", fail)
    folder = cached(tmp_path, "thing", "recipe", fill)
    assert [path.name for path in folder.iterdir()] == ["made"]


def test_two_at_once_build_one_after_the_other(tmp_path: Path) -> None:
    inside = threading.Semaphore(1)
    results: list[Path] = []

    def make(folder: Path) -> None:
        assert inside.acquire(blocking=False), "two builds of one thing at a time"
        fill(folder)

    threads = [
        threading.Thread(target=lambda: results.append(cached(tmp_path, "thing", "recipe", make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and len(results) == 4


def test_others_of_the_same_name_are_removed(tmp_path: Path) -> None:
    for recipe in (1, 2):
        cached(tmp_path, "thing", recipe, fill)
    others = cached(tmp_path, "another", 1, fill), cached(tmp_path, "thingy", 1, fill)
    newest = cached(tmp_path, "thing", 3, fill)
    remove_others(newest)
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {newest, *others}
    assert len(list(tmp_path.glob(".*.lock"))) == 3


def test_follows_xdg_cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "balena-migrate"
    assert cache_folder().is_dir()


def test_is_below_the_home_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/balena-migrate"
