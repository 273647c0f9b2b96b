# SPDX-License-Identifier: Apache-2.0
"""What the new system keeps of this device's identity, and what it cannot keep."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.carried.keep import Kept
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config, Keep

IMPOSSIBLE = {
    Keep.SSH_HOST_KEYS: (
        "balenaOS keeps SSH host keys below root-overlay in resin-state, and its first boot empties that: clients will"
        " be told that the host's key has changed"
    ),
}
"""meta-balena: resin-state-reset, and openssh_%.bbappend."""


def check(kept: Kept, config: Config) -> Iterator[Finding]:
    """What is kept by name (none of it is secret), and a warning for each thing that is not."""
    values = (
        ("host name", kept.hostname),
        ("SSH keys", f"{len(kept.ssh_keys)} for root" if kept.ssh_keys else ""),
        ("time servers", " ".join(kept.time_servers)),
        ("name servers", " ".join(kept.dns_servers)),
        ("country", kept.country),
        ("machine id", "the same" if kept.machine_id else ""),
    )
    told = "; ".join(f"{name}: {value}" for name, value in values if value)
    if told:
        yield Finding(code="keep", severity=Severity.OK, cause=f"the new system keeps {told}")
    for problem in kept.problems:
        cause = f"KEEP asks for what cannot be kept: {problem}"
        yield Finding(code="keep-missing", severity=Severity.WARNING, cause=cause, remedy="set it in config.json")
    for word, reason in IMPOSSIBLE.items():
        if word in config.keep:
            remedy = f"leave {word} out of KEEP; nothing else depends on it"
            yield Finding(code=f"keep-{word}", severity=Severity.WARNING, cause=reason, remedy=remedy)
