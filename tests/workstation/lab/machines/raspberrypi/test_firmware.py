# SPDX-License-Identifier: Apache-2.0
"""The firmware stand-in starts what the documentation says, and refuses what it does not say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.bootloaders.raspberrypi.config_txt import CONFIG, edit, split_lines
from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.machines import Start
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import (
    DEVICE_TREES,
    FatImage,
    find_start,
    read_config_files,
)
from tests.support.corpus import corpus

PI3 = Board(model=Model.THREE_B, chip=Chip.BCM2837, memory_bytes=0)
PI4 = Board(model=Model.FOUR_B, chip=Chip.BCM2711, memory_bytes=0)
PI5 = Board(model=Model.FIVE, chip=Chip.BCM2712, memory_bytes=0)
ZERO = Board(model=Model.ZERO, chip=Chip.BCM2835, memory_bytes=0)
BOARDS = (ZERO, PI3, PI4, PI5)

KERNELS = ("kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img")
FLAVOURS = ("", "_x", "_cd", "4", "4x", "4cd")
FIRMWARE = ("bootcode.bin", *(f"start{name}.elf" for name in FLAVOURS), *(f"fixup{name}.dat" for name in FLAVOURS))
TREES = tuple(f"{name}.dtb" for names in DEVICE_TREES.values() for name in names)


class Partition:
    """A boot partition in memory."""

    def __init__(self, files: dict[str, str], *names: str) -> None:
        self.files = {**dict.fromkeys((*KERNELS, *FIRMWARE, *TREES, *names), ""), **files}

    def exists(self, path: str) -> bool:
        return path.lower() in {name.lower() for name in self.files}

    def read(self, path: str) -> bytes:
        found = next(text for name, text in self.files.items() if name.lower() == path.lower())
        return found.encode("utf-8", "surrogateescape")

    def without(self, *names: str) -> Partition:
        for name in names:
            del self.files[name]
        return self


def start(config: str, *names: str, board: Board = PI3, cmdline: str = "root=/dev/mmcblk0p2\n") -> Start:
    return find_start(Partition({"config.txt": config, "cmdline.txt": cmdline}, *names), board)


@pytest.mark.parametrize(
    ("board", "kernel", "tree"),
    [
        (ZERO, "kernel.img", "bcm2708-rpi-zero.dtb"),
        (PI3, "kernel7.img", "bcm2710-rpi-3-b.dtb"),
        (PI4, "kernel8.img", "bcm2711-rpi-4-b.dtb"),
        (PI5, "kernel_2712.img", "bcm2712-rpi-5-b.dtb"),
    ],
)
def test_without_settings_each_board_starts_its_own_kernel(board: Board, kernel: str, tree: str) -> None:
    assert start("", board=board) == Start(
        kernel=kernel, initramfs=(), device_tree=tree, command_line="root=/dev/mmcblk0p2"
    )


def test_boards_before_the_5_need_no_config_txt() -> None:
    assert find_start(Partition({}), PI3).command_line == ""
    with pytest.raises(LabError, match=r"no config\.txt"):
        find_start(Partition({}), PI5)


def test_the_5_takes_the_common_kernel_where_its_own_is_missing() -> None:
    partition = Partition({"config.txt": ""}).without("kernel_2712.img")
    assert find_start(partition, PI5).kernel == "kernel8.img"


def test_names_are_found_in_any_case() -> None:
    assert start("kernel=VMLinuz\ninitramfs INITRD.img\n", "vmlinuz", "initrd.IMG").kernel == "VMLinuz"


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("initramfs a followkernel", ("a",)),
        ("initramfs a 0", ("a",)),
        ("initramfs a 0x00800000", ("a",)),
        ("initramfs a", ("a",)),
        ("initramfs a,b followkernel", ("a", "b")),
        ("ramfsfile=a,b\nramfsaddr=-1", ("a", "b")),
        ("auto_initramfs=1", ()),
    ],
)
def test_an_initramfs_is_named_in_the_documented_ways(line: str, files: tuple[str, ...]) -> None:
    assert start(line, "a", "b").initramfs == files


@pytest.mark.parametrize(
    ("config", "board", "file"),
    [
        ("auto_initramfs=1\narm_64bit=1", PI3, "initramfs8"),
        ("auto_initramfs=1", PI3, "initramfs7"),
        ("auto_initramfs=1", ZERO, "initramfs"),
        ("auto_initramfs=1", PI5, "initramfs_2712"),
        ("auto_initramfs=1\nkernel=kernel8.img", PI5, "initramfs8"),
    ],
)
def test_an_automatic_initramfs_belongs_to_the_kernel(config: str, board: Board, file: str) -> None:
    names = ("initramfs", "initramfs7", "initramfs8", "initramfs_2712")
    assert start(config, *names, board=board).initramfs == (file,)


def test_a_prefix_holds_for_all_files_of_the_system() -> None:
    names = ("a/kernel7.img", "a/bcm2710-rpi-3-b.dtb", "a/i", "a/cmdline.txt")
    found = start("os_prefix=a/\ninitramfs i followkernel\n", *names)
    assert found == Start(
        kernel="a/kernel7.img", initramfs=("a/i",), device_tree="a/bcm2710-rpi-3-b.dtb", command_line=""
    )


def test_an_absolute_path_passes_by_the_prefix() -> None:
    names = ("a/kernel7.img", "a/bcm2710-rpi-3-b.dtb", "i")
    found = start("os_prefix=a/\ninitramfs /i followkernel\ncmdline=/cmdline.txt", *names)
    assert (found.initramfs, found.command_line) == (("i",), "root=/dev/mmcblk0p2")


@pytest.mark.parametrize("names", [(), ("a/kernel7.img",), ("a/bcm2710-rpi-3-b.dtb",)])
def test_a_prefix_without_kernel_and_device_tree_is_ignored(names: tuple[str, ...]) -> None:
    assert start("os_prefix=a/\n", *names).kernel == "kernel7.img"


def test_an_empty_prefix_is_none() -> None:
    assert start("os_prefix=\n") == start("")


def test_the_upstream_kernel_has_a_prefix_and_device_trees_of_its_own() -> None:
    assert start("upstream_kernel=1\n").device_tree == "bcm2837-rpi-3-b.dtb"
    found = start("upstream_kernel=1\n", "upstream/kernel7.img", "upstream/bcm2837-rpi-3-b.dtb")
    assert found.kernel == "upstream/kernel7.img"


def test_the_command_line_is_the_first_line() -> None:
    assert start("", cmdline="one two \r\nthree\n").command_line == "one two"
    assert start("cmdline=other.txt\n").command_line == ""


def test_an_included_file_does_not_choose_the_firmware() -> None:
    """The program that loads it knows no include."""
    partition = Partition({"config.txt": "include more.txt\n", "more.txt": "start_x=1\n"})
    with pytest.raises(LabError, match="chooses the firmware"):
        find_start(partition, PI3)
    partition.files["config.txt"] = "start_x=1\ninclude more.txt\n"
    assert find_start(partition, PI3).kernel == "kernel7.img"


def test_firmware_without_its_fixup_file_does_not_boot() -> None:
    with pytest.raises(LabError, match=r"no fixup4\.dat"):
        find_start(Partition({}).without("fixup4.dat"), PI4)


WIDE, NARROW = "\0" * 56 + "ARM\x64" + "\0" * 4, "\0" * 36 + "\x18\x28\x6f\x01" + "\0" * 24


@pytest.mark.parametrize(
    ("config", "board", "kernel", "starts"),
    [
        ("kernel=mine\narm_64bit=1\n", PI3, WIDE, True),
        ("kernel=mine\n", PI3, WIDE, False),
        ("kernel=mine\n", PI3, "\x1f\udc8b\x08", False),
        ("kernel=mine\n", PI3, NARROW, True),
        ("kernel=mine\narm_64bit=1\n", PI3, NARROW, False),
        ("kernel=mine\n", PI4, WIDE, True),
        ("kernel=mine\narm_64bit=0\n", PI4, WIDE, False),
        ("kernel=mine\narm_64bit=0\n", PI4, NARROW, True),
        ("kernel=mine\narm_64bit=0\n", PI5, WIDE, True),
        ("kernel=mine\n", PI5, NARROW, False),
    ],
)
def test_a_kernel_of_the_other_width_does_not_run(config: str, board: Board, kernel: str, starts: bool) -> None:
    partition = Partition({"config.txt": config, "mine": kernel})
    if starts:
        assert find_start(partition, board).kernel == "mine"
    else:
        with pytest.raises(LabError, match="-bit kernel"):
            find_start(partition, board)


def test_a_kernel_that_the_firmware_knows_by_name_sets_the_width() -> None:
    assert (
        find_start(Partition({"config.txt": "kernel=kernel8.img\n", "kernel8.img": WIDE}), PI3).kernel == "kernel8.img"
    )
    with pytest.raises(LabError, match="32-bit kernel"):
        find_start(Partition({"config.txt": "kernel=kernel8.img\n", "kernel8.img": NARROW}), PI3)


def test_tryboot_without_its_file_is_refused() -> None:
    with pytest.raises(LabError, match=r"without tryboot\.txt"):
        find_start(Partition({"config.txt": ""}), PI4, tryboot=True)


def test_tryboot_reads_its_own_file() -> None:
    files = {"config.txt": "", "tryboot.txt": "[tryboot]\nkernel=mine\n", "mine": ""}
    assert find_start(Partition(files), PI4, tryboot=True).kernel == "mine"
    assert find_start(Partition(files), PI4).kernel == "kernel8.img"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.model)
def test_the_edit_in_tryboot_txt_starts_ours_once_and_leaves_the_old_start(board: Board) -> None:
    config = "auto_initramfs=1\n[cm4]\notg_mode=1\n"
    partition = Partition({CONFIG: config, "cmdline.txt": "root=x"}, "ours", "initramfs", "initramfs7", "initramfs8")
    old = find_start(partition, board)
    partition.files["tryboot.txt"] = edit({CONFIG: config}, board, initramfs="ours")[CONFIG]
    assert find_start(partition, board) == old
    assert find_start(partition, board, tryboot=True).initramfs == ("ours",)


@pytest.mark.parametrize(
    ("config", "names", "reason"),
    [
        ("kernel=gone.img", (), "no gone.img"),
        ("kernel=gone.img ", ("gone.img",), "no gone.img "),
        ("initramfs gone followkernel", (), "no gone"),
        ("device_tree=gone.dtb", (), "no gone.dtb"),
        ("initramfs a b c", ("a",), "documented form"),
        ("initramfs a after", ("a",), "documented form"),
        ("initramfs a\nauto_initramfs=1", ("a",), "several of"),
        ("kernel=vmlinuz\nauto_initramfs=1", ("vmlinuz",), "which initramfs"),
        ("[gpio4=1]\nkernel=kernel8.img", (), "filter that cannot be evaluated"),
        ("boot_ramdisk=1", (), "boot_ramdisk"),
        ("start_file=gone.elf\nfixup_file=fixup.dat", (), "no gone.elf"),
        ("start_file=start.elf\nfixup_file=gone.dat", (), "no gone.dat"),
        ("start_file=start.elf", (), "they are a pair"),
        ("[none]\nstart_x=1\n[all]\n", (), "chooses the firmware"),
        ("[pi4]\ngpu_mem=16\n[all]\n", (), "chooses the firmware"),
        ("kernel mine.img\n", ("mine.img",), "whether kernel applies"),
        ("kernel = mine.img\n", ("mine.img",), "whether kernel applies"),
        ("\ufeffkernel=mine.img\n", ("mine.img",), "whether kernel applies"),
        ("initramfs=a\n", ("a",), "whether initramfs applies"),
        ("Kernel=mine.img\n", ("mine.img",), "whether kernel applies"),
        ("kernel=" + "k" * 72, ("k" * 72,), "whether kernel applies"),
        ("ramfsfile=a", ("a",), "without ramfsaddr"),
        ("kernel=mine.img\n\0", ("mine.img",), "NUL"),
        ("armstub=stub.bin\n", ("stub.bin",), "armstub=stub.bin"),
        ("kernel_old=1\n", (), "kernel_old=1"),
        ("kernel_address=0x8000\n", (), "kernel_address=0x8000"),
        ("device_tree=\n", (), "device_tree without a value"),
        ("kernel=\n", (), "kernel without a value"),
        ("initramfs \n", (), "initramfs without a value"),
        ("start_debug=1", (), "no start_db.elf"),
        ("os_prefix=\nupstream_kernel=1\n", (), "an empty os_prefix"),
        ("os_prefix=a/ \n", ("a/kernel7.img", "a/bcm2710-rpi-3-b.dtb"), "whether os_prefix applies"),
        ("auto_initramfs=2\n", (), "neither 0 nor 1"),
        ("include gone.txt\n", (), "an include of gone.txt"),
    ],
)
def test_what_would_not_boot_or_is_not_certain_is_refused(config: str, names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(LabError, match=re.escape(reason)):
        start(config, *names)


@pytest.mark.parametrize("text", ["", "[all]\nboot_partition=1\n[tryboot]\nboot_partition=2\n", "boot_partition=0\n"])
def test_autoboot_txt_that_keeps_the_partition(text: str) -> None:
    assert find_start(Partition({"config.txt": "", "autoboot.txt": text}), PI3).kernel == "kernel7.img"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("boot_partition=2\n", "boot from partition 2"),
        ("[none]\n[all]\nboot_partition=2\n", "boot from partition 2"),
        ("[pi3]\nboot_partition=1\n", "whether boot_partition applies"),
        ("boot_partition=1\n[pi4]\nboot_partition=2\n", "whether boot_partition applies"),
        ("boot_partition=1\n" + "#" * 496, "512 bytes"),
        ("tryboot_a_b=2\n", "neither 0 nor 1"),
    ],
)
def test_autoboot_txt_that_chooses_another_partition_or_is_not_certain_is_refused(text: str, reason: str) -> None:
    with pytest.raises(LabError, match=reason):
        find_start(Partition({"config.txt": "", "autoboot.txt": text}), PI3)


def test_tryboot_means_a_partition_where_autoboot_txt_says_so() -> None:
    """autoboot: with tryboot_a_b=1 the normal config.txt is read, and [tryboot] chooses the partition."""
    text = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=1\n"
    files = {"config.txt": "kernel=normal", "tryboot.txt": "kernel=other", "autoboot.txt": text}
    assert find_start(Partition(files, "normal", "other"), PI4, tryboot=True).kernel == "normal"
    with pytest.raises(LabError, match="boot from partition 2"):
        find_start(Partition(files, "normal", "other"), PI4)


def test_an_empty_first_line_of_the_command_line_is_refused() -> None:
    with pytest.raises(LabError, match="empty first line"):
        start("", cmdline="\nroot=/dev/mmcblk0p2\n")


def test_a_partition_without_firmware_does_not_boot() -> None:
    with pytest.raises(LabError, match=r"no bootcode\.bin"):
        find_start(Partition({}).without("bootcode.bin"), PI3)


def _collection() -> list[Path]:
    """Every config.txt of the collection; files that others include stand beside them."""
    names = re.compile(r"(.*config|syscfg|usercfg|nobtcfg|recovery)[^/]*txt.*")
    return sorted(p for p in corpus("rpi-boot").rglob("*") if p.is_file() and names.fullmatch(p.name))


def _named_files(text: str) -> list[str]:
    """What a config.txt names has to be on its partition."""
    found = []
    for line in split_lines(text):
        if match := re.match(
            r"\s*(?:kernel|device_tree|start_file|fixup_file|ramfsfile)=(\S+)|\s*(?:initramfs|include) (\S+)", line
        ):
            found += [name.lstrip("/") for name in (match[1] or match[2]).split(",")]
    return found


UNCERTAIN = re.compile(
    "filter that cannot be evaluated|several of initramfs|which initramfs|has no 64-bit mode|deprecated arm_control"
    "|chooses the firmware|they are a pair|without ramfsaddr"
)
"""Why a start is refused for files of the collection: what the documentation leaves open."""


def test_every_config_of_the_collection_starts_ours_after_the_edit_and_the_old_kernel_before() -> None:
    """Each file, on each board: refused for a reason that the documentation leaves open, or edited and brought back."""
    certain = 0
    for path in _collection():
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        assert "".join(split_lines(text)) == text
        for board in BOARDS:
            partition = Partition({CONFIG: text, "cmdline.txt": "root=/dev/mmcblk0p2"}, "ours", *_named_files(text))
            changed = edit(read_config_files(partition), board, initramfs="ours")
            try:
                old = find_start(partition, board)
            except LabError as error:
                assert UNCERTAIN.search(str(error)), (path, board.model, error)
                continue
            partition.files.update(changed)
            new = find_start(partition, board)
            assert (new.kernel, new.device_tree, new.command_line) == (old.kernel, old.device_tree, old.command_line)
            assert new.initramfs == ("ours",), (path, board.model)
            partition.files[CONFIG] = text
            assert find_start(partition, board) == old
            certain += 1
    assert certain > 400


@pytest.mark.processes
def test_a_fat_file_system_is_read_at_its_offset(tmp_path: Path) -> None:
    """As on a card: the partition lies behind its table, folders and long names are found in any case."""
    image, offset = tmp_path / "card.img", 1 << 20
    image.write_bytes(bytes(offset + (8 << 20)))
    drive = f"{image}@@{offset}"
    (tmp_path / "config.txt").write_text("kernel=sub/vmlinuz-6.1\n")
    subprocess.run(["mformat", "-i", drive, "-T", str(8 << 11), "-h", "16", "-s", "32", "::"], check=True)
    subprocess.run(["mmd", "-i", drive, "::/Sub"], check=True)
    subprocess.run(["mcopy", "-i", drive, tmp_path / "config.txt", "::/CONFIG.TXT"], check=True)
    subprocess.run(["mcopy", "-i", drive, tmp_path / "config.txt", "::/Sub/vmlinuz-6.1"], check=True)
    fat = FatImage(image, offset)
    assert fat.exists("config.txt")
    assert fat.exists("SUB/VMLINUZ-6.1")
    assert not fat.exists("sub")
    assert fat.read("config.txt") == b"kernel=sub/vmlinuz-6.1\n"
    fat.extract("sub/vmlinuz-6.1", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"kernel=sub/vmlinuz-6.1\n"
    with pytest.raises(LabError, match="cannot read"):
        FatImage(image, 0)


FAT_AT, FAT_BYTES = 512, 12 * 512
"""Where mformat puts the first of two FATs of a small file system, and how long each is."""


def damaged_fat(image: Path, place: int, data: bytes) -> FatImage:
    """A FAT file system with a config.txt of ten clusters, and then other bytes at one place."""
    image.write_bytes(bytes(8 << 20))
    config = image.with_name("config.txt")
    config.write_text("#" * 20000 + "\nkernel=kernel8.img\n")
    subprocess.run(["mformat", "-i", image, "-T", str(8 << 11), "-h", "16", "-s", "32", "::"], check=True)
    subprocess.run(["mcopy", "-i", image, config, "::/config.txt"], check=True)
    with image.open("r+b") as file:
        file.seek(place)
        file.write(data)
    return FatImage(image, 0)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("place", "data"),
    [
        (0, bytes(512)),
        (11, bytes(2)),
        (FAT_AT + 3, bytes(6)),
        (FAT_AT + 3, b"\xf0\xff" * 3),
        (FAT_AT, bytes(2 * FAT_BYTES)),
    ],
    ids=["no boot sector", "sectors of no size", "a chain into nothing", "a chain out of the disk", "no FATs"],
)
def test_a_damaged_fat_starts_nothing(tmp_path: Path, place: int, data: bytes) -> None:
    with pytest.raises(LabError):
        read_config_files(damaged_fat(tmp_path / "fat.img", place, data))


@pytest.mark.processes
def test_an_undamaged_fat_of_that_kind_is_read(tmp_path: Path) -> None:
    files = read_config_files(damaged_fat(tmp_path / "fat.img", 0, b""))
    assert files["config.txt"].endswith("\nkernel=kernel8.img\n")
