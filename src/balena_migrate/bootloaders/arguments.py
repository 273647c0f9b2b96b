# SPDX-License-Identifier: Apache-2.0
"""Which arguments of the running kernel stage 2's kernel gets, whatever boot loader hands them over.

All but those in `RULES`. What the kernel needs on this machine (console=, memory, drivers) and what stage 2 reads
itself (root=, rootfstype=, rootflags=, rootdelay=, rootwait, ro, rw) must be there, and what nobody knows does no
harm; nor does what only the old system's programs read (fsck.*, cloud-init's ds=), which do with it what they do.
What is left out would make the kernel or an initramfs do something else than start stage 2, or make the old system
do something else than a plain start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from balena_migrate.settings import Config

PANIC_REBOOT_S = 30
"""A kernel or an initramfs that cannot go on reboots after this time; nobody is there to press a button."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Arguments that are left out: a pattern for the whole of each, as the kernel splits the line."""

    pattern: str
    reason: str
    changes_old_system: bool
    """Whether the old system, started without it, is not what it was: another root, another init, another target."""


RULES = (
    Rule(
        pattern=r"BOOT_IMAGE=.*|initrd=.*",
        reason="the boot loader writes it",
        changes_old_system=False,
    ),
    Rule(
        pattern=r"panic=.*",
        reason="ours takes its place, so that a panic ends in a reboot",
        changes_old_system=False,
    ),
    Rule(
        # Linux, admin-guide/kernel-parameters: the kernel would start another program in our initramfs, or not read it.
        pattern=r"rdinit=.*|noinitrd",
        reason="the kernel would not start our initramfs",
        changes_old_system=False,
    ),
    Rule(
        # initramfs-tools(7) and dracut.cmdline(7): a shell that waits for somebody.
        pattern=r"break(=.*)?|rd\.(break|shell|emergency)(=.*)?|rdinitdebug|rd\.systemd\..*",
        reason="an initramfs would stop and wait for somebody",
        changes_old_system=False,
    ),
    Rule(
        # initramfs-tools(7) runs the script of this name in place of `local`: overlay of raspi-config, live, casper.
        pattern=r"boot=.*|overlayroot(_cfgdisk)?=.*",
        reason="an initramfs would mount something else over the old root file system, or in its place",
        changes_old_system=True,
    ),
    Rule(
        # The words for their scripts in an initramfs of raspberrypi-sys-mods and of cloud-initramfs-growroot.
        pattern=r"resize|growroot=.*",
        reason="an initramfs would change the partition table first",
        changes_old_system=True,
    ),
    Rule(
        # Raspberry Pi OS's first start is init=/usr/lib/raspi-config/init_resize.sh or .../firstboot.
        pattern=r"init=.*",
        reason="the old system would start with another program than its usual one",
        changes_old_system=True,
    ),
    Rule(
        # Linux, admin-guide/kernel-parameters: memory that MemAvailable has no more, and rules of the old system for
        # memory (strict overcommit, a reserve) that the kernel follows before any program runs.
        pattern=r"(default_)?hugepagesz?=.*|hugetlb_cma=.*|sysctl[./]vm[./].*",
        reason="stage 2 needs the memory that it takes or withholds",
        changes_old_system=True,
    ),
    Rule(
        # kernel-command-line(7), systemd-run-generator(8), systemd-debug-generator(8), systemd-firstboot(1).
        pattern=r"systemd\.(run|run_success_action|run_failure_action|unit|debug[-_]shell"
        r"|default_debug_tty|break|crash_shell|confirm_spawn|firstboot|condition[-_]first[-_]boot"
        r"|factory_reset|volatile)(=.*)?",
        reason="it is meant for one start of the old system, not for this one",
        changes_old_system=True,
    ),
    Rule(
        # systemd(1) and init(8): names of run levels and what they became. friendly-recovery of Ubuntu: recovery.
        pattern=r"single|s|S|-s|-b|b|[1-5]|emergency|rescue|recovery",
        reason="the old system would start for maintenance, or not as far as usual",
        changes_old_system=True,
    ),
)

_SEPARATOR = "--"
"""The kernel hands init all that follows, and reads none of it: panic= would be lost (Linux, kernel/params.c)."""
_FOR_INIT = Rule(pattern="", reason="what follows -- is for the old system's init", changes_old_system=True)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An argument of the running kernel that stage 2's kernel does not get."""

    argument: str
    reason: str
    changes_old_system: bool


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The running kernel's arguments, in their order: those that stage 2's kernel gets, and the others."""

    kept: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def changes_old_system(self) -> bool:
        """Whether an old system that stage 2 goes on into would not start as it does by itself.

        Then only a reboot leads back to it as it was.
        """
        return any(argument.changes_old_system for argument in self.left_out)


def choose_arguments(command_line: str) -> Arguments:
    """What of a kernel's command line stage 2's kernel gets."""
    words = split_command_line(command_line)
    end = words.index(_SEPARATOR) if _SEPARATOR in words else len(words)
    judged = [(word, _find_rule(word)) for word in words[:end]] + [(word, _FOR_INIT) for word in words[end:]]
    return Arguments(
        kept=tuple(word for word, rule in judged if rule is None),
        left_out=tuple(
            LeftOut(argument=word, reason=rule.reason, changes_old_system=rule.changes_old_system)
            for word, rule in judged
            if rule is not None
        ),
    )


def stage2_arguments(config: Config, chosen: Arguments) -> tuple[str, ...]:
    """All arguments of stage 2's kernel, in order and not quoted. The last panic= is the one that counts."""
    debug = ("debug",) if config.debug and "debug" not in chosen.kept else ()
    return (*chosen.kept, *debug, f"panic={PANIC_REBOOT_S}")


def _find_rule(word: str) -> Rule | None:
    return next((rule for rule in RULES if re.fullmatch(rule.pattern, word, re.DOTALL)), None)


def split_command_line(text: str) -> tuple[str, ...]:
    """The arguments as the kernel splits them, quotes included: a blank between two `"` separates nothing.

    There is no escape for the quote (Linux, lib/cmdline.c, next_arg).
    """
    return tuple(re.findall(r'(?:[^"\s]|"[^"]*(?:"|$))+', text))
