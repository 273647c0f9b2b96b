# SPDX-License-Identifier: Apache-2.0
"""What stage 2 asks of the kernel for its memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.stage2 import kernel


@pytest.mark.parametrize(("total_kib", "kept_kib"), [(983752, 3967), (339400, 2330), (210760, 1836)])
def test_the_kernel_keeps_little_free_and_then_as_much_as_before(tmp_path: Path, total_kib: int, kept_kib: int) -> None:
    """About as much as Linux 6.1 keeps without huge pages: 2264 with MemTotal 339400."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {total_kib} kB\nMemAvailable: 1 kB\n")
    setting = tmp_path / "min_free_kbytes"
    setting.write_text("45056\n")
    with contextlib.suppress(ZeroDivisionError), kernel.little_kept_free(System(tmp_path), setting):
        inside = setting.read_text()
        raise ZeroDivisionError
    assert inside == f"{kept_kib}\n"
    assert setting.read_text() == "45056\n"


def test_caches_are_dropped_by_the_kernels_own_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 is for page cache and slab objects (the kernel's Documentation/admin-guide/sysctl/vm.rst)."""
    monkeypatch.setattr(kernel, "DROP_CACHES", tmp_path / "drop_caches")
    kernel.drop_caches()
    assert (tmp_path / "drop_caches").read_text() == "3\n"


def test_a_kernel_without_the_setting_goes_on(tmp_path: Path) -> None:
    with kernel.little_kept_free(System(tmp_path), tmp_path / "none/min_free_kbytes"):
        pass


def test_nothing_is_set_where_memory_is_unknown(tmp_path: Path) -> None:
    setting = tmp_path / "min_free_kbytes"
    setting.write_text("45056\n")
    with kernel.little_kept_free(System(tmp_path), setting):
        assert setting.read_text() == "45056\n"
    assert setting.read_text() == "45056\n"
