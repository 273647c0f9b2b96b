# SPDX-License-Identifier: Apache-2.0
"""The kernel's own settings of IPv6, in the files of sysctl(8): they are named, since no profile can have them.

Source: sysctl.d(5); Linux, ip-sysctl. What a distribution ships is not told. That IPv6 is off is seen at the interface
itself (see `ipv6_off`).
"""

from __future__ import annotations

import re

from balena_migrate.core.system import System
from balena_migrate.network.model import Problem, Reading
from balena_migrate.network.reading import Collector, read_config
from balena_migrate.network.sources import Source

PLACES = ("/etc/sysctl.conf", "/etc/sysctl.d/*.conf", "/run/sysctl.d/*.conf", "/usr/local/lib/sysctl.d/*.conf")
SHIPPED = "/etc/sysctl.d/10-ipv6-privacy.conf"
"""Ubuntu's, from its package procps."""
DEFAULTS = {"accept_ra": "1", "autoconf": "1", "use_tempaddr": "0", "addr_gen_mode": "0"}

_SETTING = re.compile(r"^[ \t]*-?net[./]ipv6[./]conf[./].+[./]([a-z_]+)[ \t]*=[ \t]*(-?[0-9]+)[ \t]*$", re.MULTILINE)


def read(system: System) -> Reading:
    """Report each setting that is not the kernel's default, once a file; there are no profiles."""
    found = Collector()
    for path in (path for place in PLACES for path in system.glob(place)):
        if str(path) == SHIPPED or not system.is_file(path):
            continue
        with found.guard(path):
            pairs = dict.fromkeys(_SETTING.findall(read_config(system, path)))
            found.problems += [
                Problem(source=str(path), reason=f"{key}={value} of IPv6 is not carried over", lost=False)
                for key, value in pairs
                if DEFAULTS.get(key, value) != value
            ]
    return found.reading()


SOURCE = Source(name="sysctl", precedence=85, read=read)
