# SPDX-License-Identifier: Apache-2.0
"""Readers of boot loaders' files, of the firmware's variables, and of what names a Raspberry Pi."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from balena_migrate.bootloaders.arguments import choose_arguments
from balena_migrate.bootloaders.grub.environment import dump_environment, parse_environment
from balena_migrate.bootloaders.grub.script import kernel_lines, statements, values_of
from balena_migrate.bootloaders.grub.stub import find_goal, is_whole
from balena_migrate.bootloaders.grub.words import quote
from balena_migrate.bootloaders.raspberrypi.autoboot import boot_partition
from balena_migrate.bootloaders.raspberrypi.board import Model, decode_revision, find_board, other_name, parse_model
from balena_migrate.bootloaders.raspberrypi.command_line import first_line
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    UnclearError,
    command_line_file,
    edit,
    evaluate,
    kernel_names,
    named_files,
)
from balena_migrate.core.efi_variables import (
    EFIVARS,
    GLOBAL_GUID,
    find_options,
    find_order,
    find_value,
    parse_numbers,
)
from balena_migrate.core.errors import FileError
from balena_migrate.core.load_option import HardDrive, LoadOption, command_line, dump_option, parse_option
from balena_migrate.core.system import System
from balena_migrate.facts import HardwareFacts
from balena_migrate.facts.efi import read_entries
from balena_migrate.facts.root_argument import find_root_argument
from tests.fuzz.reader import Reader, of_bytes, of_file, of_text, these
from tests.support.boards import BOARDS

GRUB_CFG = """set default="0"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default='a\\'b'
fi
function load_video { insmod vga ; }
menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple' {
    search --no-floppy --fs-uuid --set=root 0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901
    linux /boot/vmlinuz-6.1 root=UUID=0b7b3a50 ro quiet
    initrd /boot/initrd.img-6.1
}
if [ -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg; fi
"""
STUB = """search.fs_uuid 0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901 root hd0,gpt2
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
"""
CONFIG_TXT = """# comment
dtparam=audio=on
[pi4]
arm_64bit=1
[board-type=0x11]
kernel=kernel8.img
[gpio4=1]
include extra.txt
[boot_partition=2]
os_prefix=new/
[all]
initramfs initrd.img followkernel
cmdline=cmdline2.txt
include extra.txt
"""
OPTION = LoadOption(
    label="depot",
    hard_drive=HardDrive(number=3, start_lba=2048, sectors=99, partuuid="0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901"),
    file="\\EFI\\x\\vmlinuz.efi",
    arguments=command_line("initrd=\\EFI\\x\\initrd ro"),
)


def script(text: str) -> None:
    for statement in statements(text):
        assert statement.words and len(statement.conditions) == len(statement.chains)
    kernel_lines(text)
    values_of(text, "default")


def config_txt(text: str) -> None:
    """config.txt, which may include itself, and another one that is damaged just so."""
    files = {"config.txt": text, "extra.txt": text[:500], "cmdline.txt": text, "cmdline2.txt": "root=/dev/sda2"}
    for board in (BOARDS[Model.FOUR_B], BOARDS[Model.B]):
        named_files(files)
        found = evaluate(files, board, partition=1)
        with suppress(UnclearError):
            kernel_names(found, board)
        with suppress(UnclearError):
            command_line_file(files, found)
        with suppress(UnclearError):
            edit({**files, "extra.txt": "a=1\n"}, board, initramfs="migrate.img", cmdline="ours.txt")


def board(text: str) -> None:
    hardware = HardwareFacts(machine="armv7l", userland="armhf", model=text, compatible=("brcm,bcm2837",))
    find_board(hardware)
    other_name(replace(hardware, revision="a02082"))
    parse_model(text, ("brcm,bcm2711",))


def variables(system: System) -> None:
    """Every variable's file is damaged alike."""
    find_value(system, "BootOrder")
    find_order(system)
    find_options(system)
    read_entries(system)


def environment(text: str) -> None:
    dump_environment(parse_environment(text))


READERS = (
    Reader(
        name="bootloaders.grub.environment.parse_environment",
        read=of_text(environment),
        samples=these(dump_environment({"saved_entry": "0", "a": "b\\c=d"})),
        raises=(ValueError,),
        is_text=True,
    ),
    Reader(
        name="bootloaders.grub.script.statements",
        read=of_text(script),
        samples=these(GRUB_CFG, STUB),
        is_text=True,
    ),
    Reader(
        name="bootloaders.grub.stub.find_goal",
        read=of_text(lambda text: (find_goal(text), is_whole(text))),
        samples=these(STUB, GRUB_CFG),
        is_text=True,
    ),
    Reader(
        name="bootloaders.grub.words.quote",
        read=of_text(quote),
        samples=these('a="b c"', "root=UUID=1", 'a="b\\x20c d"'),
        raises=(ValueError,),
        is_text=True,
        limit_bytes=64 * 1024,
    ),
    Reader(
        name="bootloaders.arguments.choose_arguments",
        read=of_text(choose_arguments),
        samples=these('BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet dyndbg="file a +p" -- single\n'),
        is_text=True,
    ),
    Reader(
        name="facts.root_argument.find_root_argument",
        read=of_text(lambda text: find_root_argument(first_line(text))),
        samples=these("console=tty1 root=PARTUUID=1234abcd-02 rootwait\n"),
        is_text=True,
    ),
    Reader(
        name="bootloaders.raspberrypi.config_txt.evaluate",
        read=of_text(config_txt),
        samples=these(CONFIG_TXT),
        covers=("bootloaders.raspberrypi.config_txt.parse_line",),
        is_text=True,
        cost=8,
    ),
    Reader(
        name="bootloaders.raspberrypi.autoboot.boot_partition",
        read=of_text(lambda text: boot_partition(text, tryboot=True)),
        samples=these("[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"),
        raises=(UnclearError,),
        is_text=True,
    ),
    Reader(
        name="bootloaders.raspberrypi.board.decode_revision",
        read=of_text(decode_revision),
        samples=these("a02082", "000e", "0x1a01040"),
        is_text=True,
    ),
    Reader(
        name="bootloaders.raspberrypi.board.parse_model",
        read=of_text(board),
        samples=these("Raspberry Pi 4 Model B Rev 1.5", "Raspberry Pi Compute Module 4 IO board Rev 1.0"),
        is_text=True,
        limit_bytes=64 * 1024,
    ),
    Reader(
        name="core.load_option.parse_option",
        read=of_bytes(parse_option),
        samples=these(dump_option(OPTION)),
        raises=(ValueError,),
    ),
    Reader(
        name="core.efi_variables.find_value",
        read=of_file(f"{EFIVARS}/BootOrder-{GLOBAL_GUID}", variables),
        samples=these(b"\7\0\0\0\1\0\2\0\3\0"),
        raises=(FileError,),
    ),
    Reader(
        name="core.efi_variables.parse_numbers",
        read=of_bytes(parse_numbers),
        samples=these(b"\1\0\2\0\3\0"),
    ),
    Reader(
        name="facts.efi.read_entries",
        read=of_file(f"{EFIVARS}/Boot0001-{GLOBAL_GUID}", variables),
        samples=these(b"\7\0\0\0" + dump_option(OPTION)),
        covers=("facts.efi.read_efi",),
    ),
)
