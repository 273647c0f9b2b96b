# SPDX-License-Identifier: Apache-2.0
"""An act that looks for a size by what `check` says, on a device that is not there."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import cast

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.acts import GROWN_DATA, DataGrow, find_most
from balena_migrate.workstation.lab.run import Run
from balena_migrate.workstation.lab.timeline import Timeline


class Device:
    """A shell on a device with 331 MiB of memory; where data do not fit beside the image, that is made 30 MiB smaller.

    A backup takes somewhat more than the data.
    """

    def __init__(self, said: str = "= {} MiB of memory; this device has 331 MiB") -> None:
        self.size_mib, self.said = 300, said

    def run(self, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        if found := re.fullmatch(rf"head -c (\d+)M /dev/urandom >/{GROWN_DATA}", command):
            self.size_mib = int(found[1])
            return ""
        need = 251 + self.size_mib + self.size_mib // 20
        code = "memory" if need - 30 <= 331 else "memory-too-small"
        text = self.said.format(need - 30 if need > 331 and code == "memory" else need)
        return json.dumps({"findings": [{"code": "image", "cause": "fine"}, {"code": code, "cause": text}]})


def play(device: Device, act: DataGrow) -> list[tuple[bool, str]]:
    record = SimpleNamespace(left=())
    run = SimpleNamespace(record=record, timeline=Timeline(lambda text: None), old_system=lambda: device)
    return [(check.passed, check.found) for check in act.play(cast(Run, run))]


@pytest.mark.parametrize("beyond_mib", [0, 32])
def test_the_data_are_as_much_as_is_accepted(beyond_mib: int) -> None:
    """Whatever was there of them before, and with the image packed as it has to be for that."""
    device = Device()
    assert play(device, DataGrow(beyond_mib=beyond_mib)) == [(True, "0 MiB beside 105 MiB of data")]
    assert device.size_mib == 105 + beyond_mib


def test_a_check_without_its_arithmetic_is_an_error() -> None:
    with pytest.raises(LabError, match="does not say how much memory"):
        play(Device(said="nothing of memory"), DataGrow())


def test_a_device_that_is_too_small_is_an_error() -> None:
    with pytest.raises(LabError, match="even without data"):
        find_most(lambda size: None)
