# SPDX-License-Identifier: Apache-2.0
"""Will GRUB start stage 2 once, and the old system by itself before and after it?"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from balena_migrate.bootloaders.arguments import choose_arguments, stage2_arguments
from balena_migrate.bootloaders.grub.environment import armed, parse_environment
from balena_migrate.bootloaders.grub.files import (
    CUSTOM_CFG,
    GRUB_CFG,
    GRUB_CFG_SIGNATURE,
    GRUBENV,
    boot_file_system,
)
from balena_migrate.bootloaders.grub.script import Statement, kernel_lines, statements, values_of
from balena_migrate.bootloaders.grub.stub_checks import CODES as STUB_CODES
from balena_migrate.bootloaders.grub.stub_checks import check_configuration, check_stubs
from balena_migrate.bootloaders.grub.words import quote
from balena_migrate.core.errors import ImageError
from balena_migrate.core.paths import BOOT_ENTRY
from balena_migrate.facts import Facts, kernel_path
from balena_migrate.facts.root_argument import find_root_argument, names_root
from balena_migrate.facts.twins import find_twins, twin_remedy
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.settings import Config

WRITABLE_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "vfat", "xfs")

ASKING = ("read", "cryptomount")
"""GRUB's commands that wait for somebody without a limit."""

_UPDATE = "Run update-grub."
CODES = (
    Code("grub-one-shot", PASSES, "GRUB can start an entry exactly once."),
    Code(
        "grub-no-one-shot", BLOCKS, "grub.cfg does not read next_entry, so no entry can be started just once.", _UPDATE
    ),
    Code(
        "grub-no-custom",
        BLOCKS,
        "grub.cfg does not read custom.cfg, where the entry of stage 2 would be.",
        "Make /etc/grub.d/41_custom executable and run update-grub.",
    ),
    Code(
        "grub-default-set",
        BLOCKS,
        "grub.cfg or custom.cfg sets `default` after next_entry was read, so GRUB would not start stage 2.",
        "Set GRUB_DEFAULT in /etc/default/grub instead, and run update-grub.",
    ),
    Code(
        "grub-entry-ours",
        BLOCKS,
        "custom.cfg already has the entry of stage 2.",
        "Run balena-migrate undo, or remove the entry.",
    ),
    Code(
        "grub-kernel-missing",
        BLOCKS,
        "The running kernel's file is no longer where GRUB would load it.",
        "Reboot, so that a kernel runs that is still installed, and try again; where there is none, install one first.",
    ),
    Code(
        "grub-root-changed",
        BLOCKS,
        "No entry of grub.cfg starts the root file system that is mounted, as where its UUID was changed since: stage 2"
        " could not lead back to this system.",
        "Run update-grub before anything restarts the device, and try again.",
    ),
    Code(
        "grub-argument",
        BLOCKS,
        "The running kernel has an argument that GRUB cannot hand over as it is.",
        "Change that argument in /etc/default/grub, run update-grub, and reboot.",
    ),
    Code(
        "grub-uuid-twice",
        BLOCKS,
        "Several file systems have a UUID by which GRUB searches; it may take the wrong one.",
        "Unplug the copy, or give it another UUID, by the command that `check` names.",
    ),
    Code(
        "grub-password",
        WARNS,
        "GRUB asks for a password; the entry of stage 2 starts without, as nobody is there to type it.",
    ),
    Code(
        "grub-waits",
        BLOCKS,
        "GRUB would wait for somebody, without a limit, whenever it starts the old system.",
        "Set GRUB_TIMEOUT in /etc/default/grub to 0 or more, mark entries --unrestricted, and run update-grub.",
    ),
    Code(
        "grub-signatures",
        BLOCKS,
        "GRUB loads only files with a signature (check_signatures), and those of stage 2 have none.",
        "Turn that off for the migration.",
    ),
    Code("grub-other-one-shot", WARNS, "GRUB already has a one-shot entry, which stage 2 replaces."),
    Code("grubenv-missing", BLOCKS, "GRUB's environment block does not exist.", f"Run grub-editenv {GRUBENV} create."),
    Code("grubenv-damaged", BLOCKS, "GRUB's environment block is damaged.", f"Run grub-editenv {GRUBENV} create."),
    Code(
        "grubenv-not-writable",
        BLOCKS,
        "GRUB cannot clear the one-shot entry on this file system or device (btrfs, ZFS, LVM, RAID, encryption).",
        "Move /boot to an ext4 partition of its own, and run grub-install and update-grub.",
    ),
    *STUB_CODES,
)


def check_boot(config: Config, facts: Facts) -> Iterator[Finding]:
    """Whether GRUB would start stage 2 once, and the old system whenever stage 2 cannot be started or gives up."""
    yield from check_configuration(facts)
    if GRUB_CFG in facts.boot.files:
        yield from _check_own(config, facts)


def _check_own(config: Config, facts: Facts) -> Iterator[Finding]:
    texts = {path: facts.boot.files[path] for path in (GRUB_CFG, CUSTOM_CFG) if path in facts.boot.files}
    yield from check_stubs(facts)
    yield from _check_one_shot(texts[GRUB_CFG])
    yield from _check_default(texts)
    yield from _check_entry(texts)
    yield from _check_password(texts)
    yield from _check_waiting(texts)
    yield from _check_signatures(facts)
    yield from _check_kernel(facts)
    yield from _check_roots(facts)
    yield from _check_arguments(config, facts)
    yield from _check_uuids(facts)
    yield from _check_environment(facts)


def _check_one_shot(text: str) -> Iterator[Finding]:
    if "next_entry" not in text:
        cause = f"{GRUB_CFG} does not read next_entry, so no entry can be started just once"
        yield blocker("grub-no-one-shot", cause, "run update-grub, which writes a suitable grub.cfg")
    elif "custom.cfg" not in text:
        cause = f"{GRUB_CFG} does not read custom.cfg, where the entry of stage 2 would be"
        yield blocker("grub-no-custom", cause, "make /etc/grub.d/41_custom executable and run update-grub")
    else:
        yield passed("grub-one-shot", "GRUB 2 can start an entry exactly once")


def _check_default(texts: Mapping[str, str]) -> Iterator[Finding]:
    for path, text in texts.items():
        setting = [s for s in statements(text) if s.assignment and s.assignment[0] == "default"]
        later = _behind_next_entry(setting) if path == GRUB_CFG else setting
        for statement in later:
            cause = (
                f"{path} sets default={(statement.assignment or ('', ''))[1]} after GRUB has set it to the one-shot"
                " entry, so GRUB would not start stage 2"
            )
            yield blocker("grub-default-set", cause, "set GRUB_DEFAULT in /etc/default/grub instead; run update-grub")


def _behind_next_entry(setting: list[Statement]) -> list[Statement]:
    """The statements after the `if` whose one branch takes next_entry as the default."""
    for index, statement in enumerate(setting):
        if statement.assignment and "next_entry" in statement.assignment[1]:
            return [s for s in setting[index + 1 :] if not set(s.chains) & set(statement.chains)]
    return []


def _check_entry(texts: Mapping[str, str]) -> Iterator[Finding]:
    if re.search(rf"--id\s+{BOOT_ENTRY}\b", texts.get(CUSTOM_CFG, "")):
        yield blocker("grub-entry-ours", f"{CUSTOM_CFG} already has the entry of stage 2", "run balena-migrate undo")


def _check_password(texts: Mapping[str, str]) -> Iterator[Finding]:
    if not (path := _with_superusers(texts)):
        return
    cause = (
        f"{path} sets superusers, so GRUB asks for a password; the entry of stage 2 is --unrestricted and starts"
        " without: whoever is at the console can start it, too, until it is taken back, but not edit it"
    )
    yield warning("grub-password", cause)


def _with_superusers(texts: Mapping[str, str]) -> str:
    """The file that sets superusers; "" if none does."""
    return next((path for path, text in texts.items() if any(values_of(text, "superusers"))), "")


def _check_waiting(texts: Mapping[str, str]) -> Iterator[Finding]:
    """Our entry has a time-out of its own; this is about the old system's starts, after stage 2 gave up, say."""
    after = "so it would not come back by itself after stage 2 gave up"
    found = [statement for text in texts.values() for statement in statements(text)]
    if not _timeouts(found):
        cause = f"{GRUB_CFG} sets no timeout of 0 or more: GRUB waits in its menu forever, {after}"
        yield blocker("grub-waits", cause, "set GRUB_TIMEOUT=5 in /etc/default/grub, and run update-grub")
    for command in sorted({s.words[0] for s in found} & set(ASKING)):
        cause = f"{GRUB_CFG} has the command {command}, which waits for somebody at every start, {after}"
        yield blocker("grub-waits", cause, "take it out of /etc/grub.d, and run update-grub")
    entries = [s.words for s in found if s.words[0] in ("menuentry", "submenu")]
    if _with_superusers(texts) and not any("--unrestricted" in words for words in entries):
        cause = f"superusers is set, and no entry of {GRUB_CFG} is --unrestricted: each asks for a password, {after}"
        yield blocker("grub-waits", cause, "add --unrestricted to CLASS in /etc/grub.d/10_linux, and run update-grub")


def _timeouts(found: list[Statement]) -> list[str]:
    """The times that GRUB's menu waits after a start that ended well; none if it waits forever.

    What depends on recordfail is only for the start after one that did not: Ubuntu 14.04 has -1 there.
    """
    plain = [s for s in found if not any("recordfail" in condition for condition in s.conditions)]
    values = [s.assignment[1] for s in plain if s.assignment and s.assignment[0] == "timeout"]
    return [] if any(value.startswith("-") for value in values) else values


def _check_signatures(facts: Facts) -> Iterator[Finding]:
    files = facts.boot.files
    setting = [path for path in (GRUB_CFG, CUSTOM_CFG, GRUBENV) if _enforces(files.get(path, ""))]
    if not setting and GRUB_CFG_SIGNATURE not in files:
        return
    what = f"{setting[0]} sets check_signatures=enforce" if setting else f"there is {GRUB_CFG_SIGNATURE}"
    cause = f"{what}: GRUB loads only what has a signature, and the files of stage 2 have none"
    yield blocker("grub-signatures", cause, "turn it off for the migration (set check_signatures=no, remove *.sig)")


def _enforces(text: str) -> bool:
    return re.search(r"""\bcheck_signatures=["']?enforce""", text) is not None


def _check_kernel(facts: Facts) -> Iterator[Finding]:
    if (path := kernel_path(facts.boot.kernel_release)) in facts.boot.kernels:
        return
    others = ", ".join(facts.boot.kernels)
    cause = f"the kernel {facts.boot.kernel_release} is running, but {path}, which GRUB would load, is gone or empty"
    remedy = "reboot, so that an installed kernel runs" if others else "install a kernel before anything restarts this"
    yield blocker("grub-kernel-missing", f"{cause}; /boot has {others or 'no kernel'}", f"{remedy}, and try again")


def _check_roots(facts: Facts) -> Iterator[Finding]:
    """Whether GRUB starts this system again. Entries of others are no matter, and what cannot be looked up is right."""
    names = tuple(dict.fromkeys(filter(None, map(find_root_argument, kernel_lines(facts.boot.files[GRUB_CFG])))))
    if names and all(names_root(facts.disks, name) is False for name in names):
        said = ", ".join(f"root={name}" for name in names)
        cause = (
            f"each entry of {GRUB_CFG} starts another root file system ({said}) than the one that is mounted: the next"
            " start takes another, and nothing leads back to this system"
        )
        yield blocker("grub-root-changed", cause, "run update-grub before anything restarts the device, and try again")


def _check_arguments(config: Config, facts: Facts) -> Iterator[Finding]:
    for argument in stage2_arguments(config, choose_arguments(facts.boot.kernel_command_line)):
        try:
            quote(argument)
        except ValueError as error:
            cause = f"the running kernel's argument {argument!r} cannot be handed over by GRUB: {error}"
            yield blocker("grub-argument", cause, "change it in /etc/default/grub, run update-grub, and reboot")


def _check_uuids(facts: Facts) -> Iterator[Finding]:
    for uuid in _searched(facts):
        twins = find_twins(facts.disks, uuid)
        if len(twins) > 1:
            names = " and ".join(device.path for device in twins)
            cause = f"{names} have the same UUID {uuid}, by which GRUB searches: it may take the wrong one"
            yield blocker("grub-uuid-twice", cause, twin_remedy(facts.disks, twins))


def _searched(facts: Facts) -> tuple[str, ...]:
    """The UUIDs that our entry and those of the old system search; each once."""
    ours = []
    with contextlib.suppress(ImageError):
        ours.append(boot_file_system(facts)[1].uuid)
    lines = (line.split() for line in facts.boot.files[GRUB_CFG].splitlines())
    searches = (words for words in lines if words[:1] == ["search"] and "--fs-uuid" in words)
    theirs = [words[-1] for words in searches if re.fullmatch(r"[0-9A-Fa-f-]+", words[-1])]
    return tuple(dict.fromkeys(uuid for uuid in (*ours, *theirs) if uuid))


def _check_environment(facts: Facts) -> Iterator[Finding]:
    remedy = f"grub-editenv {GRUBENV} create"
    if obstacle := _find_obstacle(facts):
        own = "move /boot to an ext4 partition of its own, and run grub-install and update-grub"
        yield blocker("grubenv-not-writable", obstacle, own)
    elif GRUBENV not in facts.boot.files:
        yield blocker("grubenv-missing", f"{GRUBENV} does not exist", remedy)
    else:
        try:
            variables = parse_environment(facts.boot.files[GRUBENV])
            armed(variables)
        except ValueError as error:
            yield blocker("grubenv-damaged", f"{GRUBENV}: {error}", remedy)
        else:
            yield from _check_pending_entry(variables)


def _find_obstacle(facts: Facts) -> str:
    """Why GRUB could not clear the one-shot entry, or not find its own file system; "" if it can."""
    try:
        mount, device = boot_file_system(facts)
    except ImageError as error:
        return error.message
    if mount.fstype not in WRITABLE_FILE_SYSTEMS:
        return f"{GRUBENV} is on {mount.fstype}, where GRUB cannot clear the one-shot entry"
    if device.kind not in ("part", "disk"):
        return f"{GRUBENV} is on {device.path} ({device.kind}), where GRUB cannot clear the one-shot entry"
    return "" if device.uuid else f"the file system on {device.path} has no UUID by which GRUB could find it"


def _check_pending_entry(variables: dict[str, str]) -> Iterator[Finding]:
    pending = variables.get("next_entry", "")
    if pending and pending != BOOT_ENTRY:
        cause = f"GRUB is set to start {pending!r} at the next boot; stage 2 replaces that"
        yield warning("grub-other-one-shot", cause)
