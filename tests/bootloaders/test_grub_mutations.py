# SPDX-License-Identifier: Apache-2.0
"""Damaged files of GRUB's: whatever they say, they end with findings, in time, and never with a traceback.

With BALENA_MIGRATE_MUTATIONS=20000 that many, also of the collection where it exists.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace

import pytest

from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.environment import armed, dump_environment, parse_environment
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG, GRUBENV
from balena_migrate.bootloaders.grub.stub import find_goal
from balena_migrate.facts import Facts, Firmware, Mount
from balena_migrate.findings import is_refused
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.facts import pc_facts, with_disks

COUNT = int(os.environ.get("BALENA_MIGRATE_MUTATIONS", "100"))
STUB = "/boot/efi/EFI/debian/grub.cfg"
LIMIT_S = 5.0
"""Of the processor's time, on a slow one; each takes less than a tenth of it here."""

TEXTS = {
    GRUB_CFG: """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
else
   set default="0"
fi
function savedefault { if [ -z "${boot_once}" ]; then saved_entry="${chosen}"; fi; }
set timeout_style=menu; set timeout=5
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
\tsearch --no-floppy --fs-uuid --set=root 1111-root
\tlinux\t/boot/vmlinuz-6.1.0-test root=UUID=1111-root ro quiet
}
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
""",
    STUB: "search.fs_uuid 1111-root root hd0,gpt2 \nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n",
    GRUBENV: dump_environment({"saved_entry": "gnulinux\\simple", "next_entry": "", "recordfail": "1"}).decode(),
    CUSTOM_CFG: "menuentry mine --id mine {\n  true\n}\nset color_normal=white/black\n",
}
PIECES = (
    "'",
    '"',
    "\\",
    "{",
    "}",
    "${",
    "$",
    "`",
    "\n",
    "\0",
    ";",
    "=",
    "if ",
    "fi\n",
    "else\n",
    " " * 300,
    "\udcff",
    "#",
)


def facts_with(files: dict[str, str]) -> Facts:
    facts = pc_facts(files=files)
    uefi = replace(facts, boot=replace(facts.boot, firmware=Firmware.UEFI))
    return with_disks(uefi, mounts=[Mount(source="/dev/sda9", mount_point="/boot/efi", fstype="vfat")])


def judged(files: dict[str, str]) -> bool:
    """Whether the device passes; then its change can be made, too."""
    facts = facts_with(files)
    refused = is_refused(tuple(BOOT_LOADER.check(Config(), facts)))
    if not refused:
        assert BOOT_LOADER.boot_actions(Config(), facts)
    return not refused


def mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randrange(1, 5)):
        start, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        end = min(end, start + 40)
        text = text[:start] + chance.choice(("", "", chance.choice(PIECES), text[end : end + 30])) + text[end:]
    return text


def originals(path: str) -> list[str]:
    if COUNT < 1000 or path == CUSTOM_CFG:
        return [TEXTS[path]]
    name = "grubenv" if path == GRUBENV else "grub.cfg"
    found = [other for other in sorted(corpus("grub").rglob("*")) if name in other.name and other.is_file()]
    return [TEXTS[path], *(other.read_bytes().decode("utf-8", "surrogateescape") for other in found)]


@pytest.mark.parametrize("path", TEXTS)
def test_no_damaged_file_ends_in_a_traceback(path: str) -> None:
    chance = random.Random(path)
    texts = originals(path)
    passed = 0
    for number in range(COUNT):
        text = mutated(texts[number % len(texts)], chance)
        if path == GRUBENV and chance.randrange(2):
            text = text[:1024].ljust(1024, "#")
        try:
            passed += judged({**TEXTS, path: text})
        except Exception as error:
            pytest.fail(f"mutation {number} of {path}: {error!r}\n{text!r}")
    assert passed, "no mutation passes, so that nothing was tried behind the first check"


@pytest.mark.parametrize(
    "piece",
    [
        "${",
        "'",
        '"',
        '\\"',
        "\n",
        "search --fs-uuid ",
        "search --fs-uuid a\n",
        "if a; then ",
        "{",
        "set a=$a$a\n",
        "--id ",
    ],
)
def test_a_large_file_takes_no_time(piece: str) -> None:
    text = piece * ((1 << 16) // len(piece))
    start_s = time.process_time()
    judged({**TEXTS, GRUB_CFG: text, STUB: text})
    assert time.process_time() - start_s < LIMIT_S


def test_a_variable_that_grows_with_each_line_stays_small() -> None:
    assert find_goal("set a=xxxxxxxx\n" + "set a=$a$a\n" * 200 + "search.fs_uuid U root\nconfigfile /$a") is not None


@pytest.mark.parametrize("values", [{"a": "\\"}, {"a": "x\\y"}, {"": ""}, {"a b": "="}])
def test_any_block_that_is_read_can_be_armed_or_is_refused(values: dict[str, str]) -> None:
    block = dump_environment(values).decode()
    assert parse_environment(armed(parse_environment(block)).decode())["next_entry"] == "balena-migrate"
