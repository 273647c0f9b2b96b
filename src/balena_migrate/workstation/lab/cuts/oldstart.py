# SPDX-License-Identifier: Apache-2.0
"""What a device starts as its owner has it, to tell whether it would start that again."""

from __future__ import annotations

from dataclasses import dataclass

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.cuts.chains import Chain, find_chain
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.cuts.starts import Starts
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.variables import copy_store


@dataclass(frozen=True, kw_only=True)
class OldStart:
    """What a device started before stage 1."""

    chain: Chain
    starts: Starts

    def is_next(self, prepared: Prepared) -> bool:
        """Whether the device, which is off, would start that."""
        try:
            return _starts(self.chain, prepared) == self.starts
        except LabError:
            return False


def find_old_start(prepared: Prepared) -> OldStart:
    """What the device starts as its owner has it. Raises LabError."""
    chain = find_chain(prepared.disk, prepared)
    return OldStart(chain=chain, starts=_starts(chain, prepared))


def _starts(chain: Chain, prepared: Prepared) -> Starts:
    with overlaid(prepared.disk) as shown:
        copy_store(prepared.disk, shown)
        return chain.starts(shown)
