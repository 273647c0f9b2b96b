# SPDX-License-Identifier: Apache-2.0
"""A file that is put into the new system's boot partition (resin-boot) before it is flashed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class BootFile:
    """`path` is relative to the root of resin-boot, with "/" between folders ("system-connections/resin-wifi-01").

    The content may be secret and is kept out of repr().
    """

    path: str
    content: bytes = field(repr=False)
