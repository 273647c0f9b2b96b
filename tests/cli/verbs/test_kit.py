# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from balena_migrate.cli.verbs.kit import kit


def test_list_says_what_is_built(tmp_path: Path) -> None:
    (tmp_path / "balena-migrate-armel/base").mkdir(parents=True)
    (tmp_path / "balena-migrate-armel/base/architecture").write_text("armel\n")
    done = CliRunner().invoke(kit, ["list", "--output", str(tmp_path)])
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.output.splitlines()}
    assert list(rows) == ["amd64", "i386", "arm64", "armhf", "armel"]
    assert rows["armel"].endswith("balena-migrate-armel")
    assert "armv6l" in rows["armel"]
    assert rows["arm64"].endswith("not built")


def test_unknown_architecture_is_refused() -> None:
    done = CliRunner().invoke(kit, ["build", "--architecture", "riscv64"])
    assert done.exit_code == 2
