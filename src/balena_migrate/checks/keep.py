# SPDX-License-Identifier: Apache-2.0
"""What does the new system keep of this device's identity, and what can it not keep?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.findings import PASSES, WARNS, Code, Finding, passed, warning
from balena_migrate.settings import Keep
from balena_migrate.survey import Survey

IMPOSSIBLE = {
    Keep.SSH_HOST_KEYS: (
        "balenaOS keeps SSH host keys below root-overlay in resin-state, and its first boot empties that: clients will"
        " report that the host key has changed"
    ),
}
"""meta-balena: resin-state-reset, and openssh_%.bbappend."""

CODES = (
    Code("keep", PASSES, "The settings that KEEP asks for and that the new system keeps."),
    Code(
        "keep-missing",
        WARNS,
        "KEEP asks for a setting that this device does not have, or that balenaOS cannot use.",
        "Set it in config.json.",
    ),
    Code(
        "keep-ssh-host-keys",
        WARNS,
        "balenaOS generates new SSH host keys at its first boot, whatever KEEP says.",
        "Leave ssh-host-keys out of KEEP.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    """What is kept by name (none of it is secret), and a warning for each thing that is not."""
    kept = survey.payload.preserved
    values = (
        ("host name", kept.hostname),
        ("SSH keys", f"{len(kept.ssh_keys)} for root" if kept.ssh_keys else ""),
        ("time servers", " ".join(kept.time_servers)),
        ("name servers", " ".join(kept.dns_servers)),
        ("country", kept.country),
        ("machine id", "the same" if kept.machine_id else ""),
    )
    named = "; ".join(f"{name}: {value}" for name, value in values if value)
    if named:
        yield passed("keep", f"the new system keeps {named}")
    for problem in kept.problems:
        yield warning("keep-missing", f"KEEP: cannot be carried over: {problem}", "set it in config.json")
    for word, reason in IMPOSSIBLE.items():
        if word in survey.config.keep:
            yield warning(f"keep-{word}", reason, f"leave {word} out of KEEP; nothing else depends on it")
