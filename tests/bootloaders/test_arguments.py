# SPDX-License-Identifier: Apache-2.0
"""Which of the running kernel's arguments go on to stage 2, and which would make it something else."""

from __future__ import annotations

import re

import pytest

from balena_migrate.bootloaders.arguments import RULES, choose_arguments, split_command_line

KEPT = (
    *("root=UUID=1111-root", "rootfstype=ext4", "rootflags=data=journal", "rootwait", "rootdelay=5", "ro", "rw"),
    *("console=ttyS0,115200", "console=tty1", "quiet", "splash", "debug", "nomodeset", "mem=512M", "intel_iommu=off"),
    *("memmap=64K$0x18690000", "ds=nocloud;s=http://192.0.2.10/seed/", "net.ifnames=0", "fsck.repair=yes", "nosplash"),
    *("systemd.unified_cgroup_hierarchy=0", "panic_on_oops=1", "bootdev=x", "initcall_blacklist=x", "init_on_alloc=1"),
    *("8250.nr_uarts=1", "dwc_otg.lpm_enable=0", "resize_x=1", "usbcore.autosuspend=-1", "rd.luks=0", "crashkernel=1M"),
    *("sysctl.kernel.panic_on_oops=1", "transparent_hugepage=never", "cma=64M"),
)

LEFT_OUT = {
    "BOOT_IMAGE=/boot/vmlinuz": False,
    "initrd=\\initrd.img": False,
    "panic=0": False,
    "rdinit=/bin/sh": False,
    "noinitrd": False,
    "break": False,
    "break=premount": False,
    "rd.break": False,
    "boot=overlay": True,
    "boot=live": True,
    "overlayroot=tmpfs": True,
    "resize": True,
    "init=/usr/lib/raspi-config/init_resize.sh": True,
    "hugepages=512": True,
    "hugepagesz=2M": True,
    "default_hugepagesz=1G": True,
    "hugetlb_cma=256M": True,
    "sysctl.vm.overcommit_memory=2": True,
    "sysctl/vm/min_free_kbytes=65536": True,
    "systemd.run=/boot/firstrun.sh": True,
    "systemd.run_success_action=reboot": True,
    "systemd.unit=kernel-command-line.target": True,
    "systemd.debug_shell": True,
    "single": True,
    "1": True,
    "3": True,
    "emergency": True,
    "rescue": True,
    "recovery": True,
}


@pytest.mark.parametrize("argument", KEPT)
def test_what_the_machine_and_stage_2_need_is_kept(argument: str) -> None:
    chosen = choose_arguments(argument)
    assert (chosen.kept, chosen.left_out, chosen.changes_old_system) == ((argument,), (), False)


@pytest.mark.parametrize(("argument", "changes"), LEFT_OUT.items())
def test_what_is_meant_for_another_start_is_left_out_and_the_reason_is_told(argument: str, changes: bool) -> None:
    chosen = choose_arguments(f"ro {argument} quiet")
    assert chosen.kept == ("ro", "quiet")
    assert [left.argument for left in chosen.left_out] == [argument]
    assert chosen.left_out[0].reason
    assert chosen.changes_old_system is changes


def test_every_rule_has_an_example_here() -> None:
    for rule in RULES:
        assert any(re.fullmatch(rule.pattern, argument) for argument in LEFT_OUT), rule


def test_what_follows_two_dashes_is_inits() -> None:
    """The kernel reads nothing behind them: our panic= would be lost there."""
    chosen = choose_arguments("ro -- noresume console=tty1")
    assert chosen.kept == ("ro",)
    assert [left.argument for left in chosen.left_out] == ["--", "noresume", "console=tty1"]
    assert chosen.changes_old_system
    assert choose_arguments("quiet ---").kept == ("quiet", "---"), "Debian's installer writes three"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" a  b\tc\n", ("a", "b", "c")),
        ('"dyndbg=file x +p" b', ('"dyndbg=file x +p"', "b")),
        ('dyndbg="file x +p" b', ('dyndbg="file x +p"', "b")),
        (r"a\"b c d", (r"a\"b c d",)),
        ('a="open to the end', ('a="open to the end',)),
    ],
)
def test_the_line_is_split_as_the_kernel_splits_it(text: str, words: tuple[str, ...]) -> None:
    assert split_command_line(text) == words
