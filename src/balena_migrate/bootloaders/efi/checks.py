# SPDX-License-Identifier: Apache-2.0
"""Will the firmware start stage 2 once, and the old system before and after it?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.paths import BOOT_ENTRY
from balena_migrate.facts import EfiFacts, Facts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning

CODES = (
    Code("efi-one-shot", PASSES, "The firmware can start an entry exactly once (BootNext)."),
    Code(
        "efi-entry-ours",
        BLOCKS,
        "The firmware has a boot entry for stage 2, or an EFI system partition its files, from before.",
        "Run balena-migrate undo, or remove them.",
    ),
    Code(
        "efi-other-one-shot",
        WARNS,
        "The firmware already has another entry for the next start, which stage 2 replaces.",
    ),
)


def check_boot(facts: Facts) -> Iterator[Finding]:
    """Whether BootNext is free, and nothing of ours is left from before."""
    if efi := facts.boot.efi:
        yield passed("efi-one-shot", "the firmware can start an entry exactly once (BootNext)")
        yield from _check_ours(efi)
        yield from _check_next(efi)


def _check_ours(efi: EfiFacts) -> Iterator[Finding]:
    for entry in efi.entries:
        if entry.label == BOOT_ENTRY:
            cause = f"the firmware has a boot entry {BOOT_ENTRY} already, Boot{entry.number:04X}"
            remedy = f"run balena-migrate undo, or remove it: efibootmgr -B -b {entry.number:04X}"
            yield blocker("efi-entry-ours", cause, remedy)
    if efi.left_over:
        files = " ".join(efi.left_over)
        cause = f"there is already, from before: {files}"
        yield blocker("efi-entry-ours", cause, f"run balena-migrate undo, or remove it: rm {files}")


def _check_next(efi: EfiFacts) -> Iterator[Finding]:
    if efi.next is not None:
        entry = efi.find_entry(efi.next)
        what = f"Boot{efi.next:04X}" + (f" ({entry.label})" if entry else "")
        yield warning("efi-other-one-shot", f"the next start would be {what}, once; stage 2 takes its place")
