# SPDX-License-Identifier: Apache-2.0
"""An act that looks for a size by what `check` says, on a device that is not there."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import cast

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.acts import GROWN_DATA, DataGrow
from balena_migrate.workstation.lab.run import Run
from balena_migrate.workstation.lab.timeline import Timeline


class Device:
    """A shell on a device with 331 MiB of memory, whose backup takes somewhat more than the data."""

    def __init__(self, size_mib: int, said: str = "= {} MiB of memory; this device has 331 MiB") -> None:
        self.size_mib, self.said = size_mib, said

    def run(self, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        if command.startswith("rm "):
            self.size_mib = 0
        elif found := re.fullmatch(rf"head -c (\d+)M /dev/urandom >/{GROWN_DATA}", command):
            self.size_mib = int(found[1])
        else:
            need = 251 + self.size_mib + (self.size_mib > 20) * 2
            return json.dumps({"findings": [{"cause": "all is well"}, {"cause": self.said.format(need)}]})
        return ""


def play(device: Device, act: DataGrow) -> list[bool]:
    record = SimpleNamespace(left=())
    run = SimpleNamespace(record=record, timeline=Timeline(lambda text: None), old_system=lambda: device)
    return [check.passed for check in act.play(cast(Run, run))]


@pytest.mark.parametrize(("beyond_mib", "size_mib"), [(0, 78), (32, 110), (-64, 16)])
def test_the_data_grow_to_the_mib(beyond_mib: int, size_mib: int) -> None:
    """Whatever was there of them before."""
    device = Device(300)
    assert play(device, DataGrow(beyond_mib=beyond_mib)) == [True]
    assert device.size_mib == size_mib


def test_a_check_without_its_arithmetic_is_an_error() -> None:
    with pytest.raises(LabError, match="does not say how much memory"):
        play(Device(0, said="nothing of memory"), DataGrow())
