# SPDX-License-Identifier: Apache-2.0
"""A disk that GRUB can read, what update-grub would put on it, and Debian's grub-emu to start it with.

grub-emu is GRUB's own kernel, shell, menu and file system drivers as a program. It has no `linux` and no `initrd`:
these are functions here, which read their files as the real commands do, and note what was started on the disk.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.bootloaders.grub.environment import dump_environment, parse_environment
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG, GRUBENV
from balena_migrate.core.units import MIB
from balena_migrate.facts import Facts
from balena_migrate.settings import Config
from balena_migrate.workstation.lab.disks import make_disk
from tests.support.facts import pc_facts

UUID = "6a1d5f6e-3a52-4b39-9d0e-5c1b8a7e2f41"
KERNEL, INITRAMFS = "boot/vmlinuz-6.1.0-test", "boot/initrd.img-6.1.0-test"
OURS = "boot/balena-migrate-initramfs"
OLDER_KERNEL = "boot/vmlinuz-5.10.0-test"
SIMPLE, OLDER = "gnulinux-simple", "gnulinux-advanced>gnulinux-older"
LIMIT_S = 40
"""More than GRUB waits anywhere by itself: 10 s after an error, 20 s in a menu."""

_END = "@@"
"""Follows each argument."""
_RESULT = "boot/result"
_RESULT_BYTES = 4096

# The files are read by `testload`; an `if` gets the status of the last command.
_EMULATION = f"""\
function linux {{
  set started_kernel=""
  set started_arguments=""
  if testload "$1"; then
    set started_kernel="$1"
    shift
    for word in "$@"; do
      set started_arguments="${{started_arguments}}${{word}}{_END}"
    done
    true
  else
    false
  fi
}}
function initrd {{
  set started_initramfs=""
  if testload "$1"; then
    set started_initramfs="$1"
    true
  else
    false
  fi
}}
function start {{
  save_env -f "${{prefix}}/../{Path(_RESULT).name}" started_kernel started_arguments started_initramfs
  exit
}}
"""


@dataclass(frozen=True, kw_only=True)
class Template:
    """What grub.cfg's first part does, in the release of GRUB whose mkconfig made it."""

    name: str
    recordfail_timeout: str = ""
    """Ubuntu: the menu's time after a start that was not reported as good; "" where nothing notes that."""
    initrdfail: bool = False
    """Ubuntu since 20.04: next_entry comes from prev_entry after a start without initramfs that failed."""
    timeout_style: bool = True


TEMPLATES = (
    Template(name="2.02~beta2, Ubuntu 14.04", recordfail_timeout="-1", timeout_style=False),
    Template(name="2.02~beta3, Debian 9"),
    Template(name="2.02, Ubuntu 18.04", recordfail_timeout="30"),
    Template(name="2.04, Ubuntu 20.04", recordfail_timeout="30", initrdfail=True),
    Template(name="2.06, Debian 12"),
    Template(name="2.06, Ubuntu 22.04", recordfail_timeout="30", initrdfail=True),
    Template(name="2.12, Debian 13"),
)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What /etc/default/grub and /etc/grub.d make of it."""

    template: Template = TEMPLATES[4]
    default: str = "0"
    savedefault: bool = False
    password: bool = False
    clears: bool = True
    """Whether next_entry can be cleared; where it cannot, on LVM say, save_env does nothing."""
    timeout: str = "0"
    timeout_style: str = "menu"
    """grub-emu takes 3 s where it is hidden."""
    boot: str = "boot"
    """The command at the end of an entry; grub-emu needs one of its own."""


def grub_cfg(setup: Setup) -> str:
    """A grub.cfg that does what that release's does."""
    lines = [
        'if [ -s "$prefix/grubenv" ]; then set have_grubenv=true; load_env; fi',
        *(_INITRDFAIL if setup.template.initrdfail else ()),
        'if [ "$next_entry" ]; then',
        '  set default="$next_entry"; set next_entry=',
        *(["  save_env next_entry"] if setup.clears else []),
        "  set boot_once=true",
        f'else set default="{setup.default}"; fi',
        'if [ x"$feature_menuentry_id" = xy ]; then menuentry_id_option="--id"; else menuentry_id_option=""; fi',
        "export menuentry_id_option",
        'if [ "$prev_saved_entry" ]; then',
        '  set saved_entry="$prev_saved_entry"; save_env saved_entry',
        "  set prev_saved_entry=; save_env prev_saved_entry; set boot_once=true",
        "fi",
        'function savedefault { if [ -z "$boot_once" ]; then saved_entry="$chosen"; save_env saved_entry; fi; }',
        *_timeout(setup),
        *(_PASSWORD if setup.password else ()),
        _entry(setup, "Old system", "gnulinux-simple", KERNEL),
        "submenu 'Other kernels' $menuentry_id_option gnulinux-advanced {",
        _entry(setup, "Newer", "gnulinux-newer", KERNEL),
        _entry(setup, "Older", "gnulinux-older", OLDER_KERNEL),
        "}",
        "if [ -f ${config_directory}/custom.cfg ]; then source ${config_directory}/custom.cfg",
        'elif [ -z "$config_directory" -a -f $prefix/custom.cfg ]; then source $prefix/custom.cfg; fi',
    ]
    return "\n".join(lines) + "\n"


_INITRDFAIL = (
    'if [ "$initrdfail" = 2 ]; then set initrdfail=',
    'elif [ "$initrdfail" = 1 ]; then',
    '  set next_entry="$prev_entry"; set prev_entry=; save_env prev_entry',
    '  if [ "$next_entry" ]; then set initrdfail=2; fi',
    "fi",
)
_PASSWORD = ('set superusers="service"', "export superusers", "password service secret")


def _timeout(setup: Setup) -> list[str]:
    styled = [f"set timeout_style={setup.timeout_style}; set timeout={setup.timeout}"]
    plain = ["if [ x$feature_timeout_style = xy ]; then", *styled, f"else set timeout={setup.timeout}; fi"]
    normal = plain if setup.template.timeout_style else [f"set timeout={setup.timeout}"]
    if not setup.template.recordfail_timeout:
        return normal
    return [
        'function recordfail { set recordfail=1; if [ -n "$have_grubenv" ]; then',
        '  if [ -z "$boot_once" ]; then save_env recordfail; fi; fi; }',
        f'if [ "$recordfail" = 1 ]; then set timeout={setup.template.recordfail_timeout}; else',
        *normal,
        "fi",
    ]


def _entry(setup: Setup, title: str, name: str, kernel: str) -> str:
    unrestricted = "--unrestricted " if setup.password else ""
    body = [
        f"menuentry '{title}' --class os {unrestricted}$menuentry_id_option {name} {{",
        *(["  recordfail"] if setup.template.recordfail_timeout else []),
        *(["  savedefault"] if setup.savedefault else []),
        f"  search --no-floppy --fs-uuid --set=root {UUID}",
        f"  linux /{kernel} root=UUID={UUID} ro quiet",
        f"  initrd /{INITRAMFS}",
        f"  {setup.boot}",
        "}",
    ]
    return "\n".join(body)


@dataclass(frozen=True, kw_only=True)
class Started:
    """What GRUB started; empty where it started nothing."""

    kernel: str
    initramfs: str
    arguments: tuple[str, ...] = field(default=())


class GrubDisk:
    """A disk with an MBR and one ext4 partition. Files are written by debugfs, without mounts and without root."""

    def __init__(self, disk: Path, files: Mapping[str, bytes], size_bytes: int = 24 * MIB) -> None:
        self.disk = disk
        self._span = make_disk(disk, size_bytes, table_id="0x5a3c91e7")
        tree = disk.with_suffix(".tree")
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        options = ["-E", f"offset={self._span.start_bytes}", "-O", "^metadata_csum", "-U", UUID, "-d", str(tree)]
        _run("mke2fs", "-q", "-F", "-t", "ext4", *options, str(disk), f"{self._span.size_bytes // 1024}k")

    def debugfs(self, *commands: str) -> bytes:
        """What debugfs prints when it executes these commands, which may write."""
        argv = ["debugfs", "-w", "-f", "-", f"{self.disk}?offset={self._span.start_bytes}"]
        return subprocess.run(argv, input="\n".join(commands).encode(), capture_output=True, check=True).stdout

    def read(self, path: str) -> bytes:
        argv = ["debugfs", "-R", f"cat /{path}", f"{self.disk}?offset={self._span.start_bytes}"]
        return subprocess.run(argv, capture_output=True, check=True).stdout

    def write(self, path: str, content: bytes) -> None:
        """The file, in place of the one that is there."""
        source = self.disk.with_suffix(".file")
        source.write_bytes(content)
        self.debugfs(f"rm /{path}", f"write {source} /{path}")

    def remove(self, path: str) -> None:
        self.debugfs(f"rm /{path}")

    def make_unreadable(self, path: str) -> None:
        """As where the file system is damaged: the inode's list of extents is none."""
        self.debugfs(f"sif /{path} block[0] 0")

    def replace(self, path: str, old: str, new: str, *, times: int) -> None:
        """The file with another text in place of the first ones of the old."""
        text = self.read(path).decode()
        assert old in text
        self.write(path, text.replace(old, new, times).encode())

    def environment(self) -> dict[str, str]:
        return parse_environment(self.read("boot/grub/grubenv").decode())


def came_up(disk: GrubDisk) -> None:
    """What Ubuntu's old system does when it is up: its service takes back what GRUB noted before."""
    kept = {key: value for key, value in disk.environment().items() if key not in ("recordfail", "initrdfail")}
    disk.write("boot/grub/grubenv", dump_environment(kept))


def emulated(text: str) -> str:
    """The text of grub.cfg for grub-emu."""
    return _EMULATION + text


def start(disk: GrubDisk, *, reboots: bool = False, prefix: str = "/boot/grub") -> Started:
    """Start grub-emu on the disk, and once more if it `reboots`; its first grub.cfg is in the folder `prefix`.

    Raises TimeoutExpired if GRUB waits.
    """
    devices = disk.disk.with_suffix(".map")
    devices.write_text(f"(hd0) {disk.disk}\n")
    argv = ["grub-emu", "--device-map", str(devices), "--root", "hd0,msdos1", "--directory", prefix]
    environment = {"TERM": "dumb", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    found = Started(kernel="", initramfs="")
    for _ in range(2 if reboots else 1):
        disk.write(_RESULT, b"# GRUB Environment Block\n".ljust(_RESULT_BYTES, b"#"))
        subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=LIMIT_S, check=True
        )
        found = _read_result(disk)
        if found.kernel:
            break
    return found


def _read_result(disk: GrubDisk) -> Started:
    lines = disk.read(_RESULT).decode().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return Started(
        kernel=variables.get("started_kernel", ""),
        initramfs=variables.get("started_initramfs", ""),
        arguments=tuple(variables.get("started_arguments", "").replace("\\\\", "\\").split(_END)[:-1]),
    )


PLAIN = f"root=UUID={UUID} ro quiet"
STAGE2 = Started(kernel=f"/{KERNEL}", initramfs=f"/{OURS}", arguments=(f"root=UUID={UUID}", "ro", "quiet", "panic=30"))
OLD = Started(kernel=f"/{KERNEL}", initramfs=f"/{INITRAMFS}", arguments=(f"root=UUID={UUID}", "ro", "quiet"))
OLDER_STARTED = replace(OLD, kernel=f"/{OLDER_KERNEL}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A device before stage 1, what becomes of it after stage 1, and what its next two starts have to be."""

    setup: Setup = field(default_factory=Setup)
    environment: Mapping[str, str] = field(default_factory=dict)
    command_line: str = PLAIN
    custom: str = ""
    config: Config = field(default_factory=Config)
    damage: Callable[[GrubDisk], None] = lambda disk: None
    reboots: bool = False
    """Whether GRUB may reboot on its way back."""
    first: Started = STAGE2
    second: Started = OLD


def facts_for(case: Case) -> Facts:
    files = {
        GRUB_CFG: grub_cfg(case.setup),
        GRUBENV: environment_block(case.environment),
        **({CUSTOM_CFG: case.custom} if case.custom else {}),
    }
    facts = pc_facts(files=files)
    devices = tuple(replace(d, uuid=UUID) if d.name == "sda1" else d for d in facts.disks.devices)
    command_line = f"BOOT_IMAGE=/{KERNEL} {case.command_line}"
    return replace(
        facts,
        disks=replace(facts.disks, devices=devices),
        boot=replace(facts.boot, kernel_command_line=command_line),
    )


def environment_block(variables: Mapping[str, str]) -> str:
    return dump_environment(dict(variables)).decode()


def _run(*argv: str) -> None:
    subprocess.run(argv, capture_output=True, check=True)
