# SPDX-License-Identifier: Apache-2.0
"""Build what takes minutes only once: folders named after the hash of their recipe, complete or absent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/balena-migrate or ~/.cache/balena-migrate; it is created."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "balena-migrate"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(cache: Path, name: str, recipe: object, make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled for this recipe, now or earlier.

    Recipes are compared by their repr. Processes that want the same folder take turns, so that it is built once; a
    process that is killed leaves nothing that counts as built.
    """
    key = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
    done = cache / f"{name}-{key}"
    with locked(cache / f".{name}-{key}.lock"):
        if not done.is_dir():
            unfinished = cache / f".{name}-{key}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(done)
    return done


def remove_others(folder: Path) -> None:
    """Remove what other recipes built under the same name. The caller holds a lock that every user of it takes."""
    name = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{name}-*"):
        if other != folder:
            shutil.rmtree(other)
            (folder.parent / f".{other.name}.lock").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on this file, which is created, after waiting for it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
