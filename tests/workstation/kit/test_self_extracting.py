# SPDX-License-Identifier: Apache-2.0
"""The self-extracting file, on devices that have a shell and the programs that the file names, and nothing else."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from balena_migrate import VERSION
from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import ExitStatus
from balena_migrate.core.kit import Kit
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.workstation.kit.archive import write_archive
from balena_migrate.workstation.kit.self_extracting import SCRIPT, write_self_extracting
from balena_migrate.workstation.lab.lookalike.sources import copy_program
from tests.support.kit_root import Root, enter

pytestmark = pytest.mark.processes

SHELLS = ("dash", "bash", "busybox")
_NAMED = re.search('^programs="(.*)"$', SCRIPT.read_text(), re.MULTILINE)
assert _NAMED
PROGRAMS = (*_NAMED[1].split(), "mktemp")
KIT = "balena-migrate-amd64"
FILE = f"{KIT}.run"
LAUNCHER = (
    '#!/bin/sh\n[ -z "${BALENA_MIGRATE_UNPACKING+set}" ] || exit 9\nprintf "<%s>" "${0##*/}" "$@"\numask\nexit 7\n'
)
PASSED_ON = "<balena-migrate><check><a b><><$x>0022\n"

Result = subprocess.CompletedProcess[str]


class Device:
    """A root file system with a shell, a few programs and the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / FILE
        self.state = path / STATE_DIR.lstrip("/")

    @property
    def unpacked(self) -> list[Path]:
        """All that is in the folder where the kit belongs."""
        return sorted(self.state.iterdir()) if self.state.is_dir() else []

    def run(self, *argv: str, prepare: str = "") -> Result:
        return enter(self.path, Architecture.AMD64, *argv, prepare=prepare)

    def start(self, *arguments: str, prepare: str = "") -> Result:
        return self.run("/bin/sh", f"/{FILE}", *arguments, prepare=prepare)

    def replace(self, program: str, *lines: str) -> None:
        """The program is a script with these lines."""
        (self.path / "bin" / program).unlink()
        (self.path / "bin" / program).write_text("\n".join(["#!/bin/sh", *lines, ""]))
        (self.path / "bin" / program).chmod(0o755)


def make_root(path: Path, shell: str) -> Path:
    """A root with the shell as /bin/sh, and the programs: busybox's, or those of this machine."""
    for name in ("bin", "dev", "proc", "tmp", "var/lib"):
        (path / name).mkdir(parents=True)
    for name in (shell, *(PROGRAMS if shell != "busybox" else ())):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} here")
        copy_program(Path("/"), Path(found), path)
    for name in ("sh", *(PROGRAMS if shell == "busybox" else ())):
        (path / "bin" / name).symlink_to(shell)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with a kit that only says how it was called."""
    folder = tmp_path_factory.mktemp("small")
    files = {"balena-migrate": LAUNCHER, "balena-stage1": LAUNCHER, "base/busybox": "#!/bin/sh\n"}
    for name, text in files.items():
        (folder / "kit" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "kit" / name).write_text(text)
        (folder / "kit" / name).chmod(0o755)
    (folder / "kit/filling").write_bytes(random.Random(8).randbytes(300_000))
    kit = Kit(path=folder / "kit", architecture=Architecture.AMD64)
    with (folder / "kit.tar.gz").open("wb") as stream:
        write_archive(kit.path, stream, "balena-migrate-amd64")
    write_self_extracting(kit, folder / "kit.tar.gz", folder / FILE)
    return folder / FILE


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def root(shell: str) -> Path:
        if shell not in made:
            made[shell] = make_root(tmp_path_factory.mktemp(shell), shell)
        return made[shell]

    return root


def make_device(root: Path, file: Path, path: Path) -> Device:
    shutil.copytree(root, path, symlinks=True)
    shutil.copy(file, path / FILE)
    return Device(path)


@pytest.fixture(params=SHELLS)
def device(request: pytest.FixtureRequest, roots: Callable[[str], Path], small: Path, tmp_path: Path) -> Device:
    device = make_device(roots(request.param), small, tmp_path / "device")
    probe = device.run("/bin/sh", "-c", "exit 5")
    if probe.returncode != 5:
        pytest.skip(f"namespaces do not work here: {probe.stderr}")
    return device


def assert_refused(done: Result, *words: str) -> None:
    """Where the file says why, it ends with the status of a command that failed and left nothing changed."""
    assert done.returncode == ExitStatus.FAILED if words else done.returncode != ExitStatus.DONE
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_unpacks_once_and_passes_everything_on(device: Device) -> None:
    """Arguments, exit status and umask are those of an ordinary command; only root gets into the folder."""
    arguments = ("check", "a b", "", "$x")
    first = device.start(*arguments)
    assert (first.returncode, first.stdout) == (7, PASSED_ON)
    (kit,) = device.unpacked
    assert first.stderr == f"{FILE}: unpacking into /{kit.relative_to(device.path)}\n"
    assert kit.name.startswith(f"kit-{VERSION}-amd64-")
    for folder in (device.state, kit):
        assert (folder.stat().st_mode & 0o7777, folder.stat().st_uid) == (0o700, os.getuid())
    (kit / "balena-migrate-amd64/mark").touch()
    again = device.start(*arguments)
    assert (again.returncode, again.stdout, again.stderr) == (7, PASSED_ON, "")
    assert (kit / "balena-migrate-amd64/mark").exists()


def test_is_stage1_by_its_name(device: Device) -> None:
    (device.path / "balena-stage1").symlink_to(FILE)
    assert device.run("/bin/sh", "balena-stage1", "-n").stdout == "<balena-stage1><-n>0022\n"
    assert device.run(f"/{FILE}").stdout == "<balena-migrate>0022\n", "it can be started by itself, too"


def test_cut_file_is_refused(device: Device) -> None:
    """Wherever it was cut behind its first line, nothing is run and nothing unpacked."""
    whole = device.file.read_bytes()
    script = len(SCRIPT.read_bytes())
    for size in (*range(11, script, 211), *range(script, script + 40, 13), len(whole) // 2, len(whole) - 1):
        device.file.write_bytes(whole[:size])
        assert_refused(device.start("check"))
        assert device.unpacked == [], size
    assert_refused(device.start("check"), "damaged or incomplete")


def test_damaged_file_is_refused(device: Device) -> None:
    whole = device.file.read_bytes()
    payload = whole.index(b"\nexit\n}\n") + 8
    number = whole.index(b"payload_line=") + 14
    for place in (3, whole.index(b"exit 3"), number, payload, payload + 9, len(whole) // 2, len(whole) - 1):
        device.file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert_refused(device.start("check"), "damaged or incomplete")
        assert device.unpacked == [], place


def test_damaged_sum_is_refused(device: Device) -> None:
    """Another digit is another sum. A character that opens a quotation is an error of the shell's own."""
    whole = device.file.read_bytes()
    start = whole.index(b"sum=") + 4
    for place in (start, start + 63):
        for damage, words in ((b"0" if whole[place] != ord("0") else b"1", ("damaged or incomplete",)), (b"`", ())):
            device.file.write_bytes(whole[:place] + damage + whole[place + 1 :])
            assert_refused(device.start("check"), *words)
            assert device.unpacked == [], place


def test_file_does_not_start_itself(device: Device) -> None:
    """As it would if damage made a pipe of `<"$0"`. The launcher sees nothing of that."""
    assert_refused(device.run("/bin/sh", "-c", f"BALENA_MIGRATE_UNPACKING=1 /bin/sh /{FILE} check"), "damaged")
    assert device.unpacked == []


def test_longer_file_is_refused(device: Device) -> None:
    with device.file.open("ab") as file:
        file.write(b"\0")
    assert_refused(device.start("check"), "damaged or incomplete")


def test_interrupted_unpacking_is_begun_anew(device: Device) -> None:
    """A process that is killed right before the end leaves nothing that counts, and the next one clears it away."""
    sync = device.path / "bin/sync"
    sync.rename(device.path / "bin/true-sync")
    sync.touch()
    device.replace("sync", "kill -9 $PPID")
    if "busybox" in os.readlink(device.path / "bin/sh"):
        pytest.skip("busybox runs its own sync")
    assert_refused(device.start("check"))
    assert [path.name.split(".")[1] for path in device.unpacked] == ["unpacking"]
    device.replace("sync")
    assert device.start("check").returncode == 7
    assert [path.name.split("-")[0] for path in device.unpacked] == ["kit"]


def test_stopped_unpacking_leaves_nothing(device: Device) -> None:
    if "busybox" in os.readlink(device.path / "bin/sh"):
        pytest.skip("busybox runs its own sync")
    device.replace("sync", "kill -TERM $PPID")
    assert (device.start("check").returncode, device.unpacked) == (ExitStatus.FAILED, [])


def test_two_at_once_do_not_disturb_each_other(device: Device) -> None:
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda _: device.start("check"), range(4)))
    assert [(end.returncode, end.stdout) for end in ends] == [(7, "<balena-migrate><check>0022\n")] * 4
    (kit,) = device.unpacked
    assert [path.name for path in kit.iterdir()] == ["balena-migrate-amd64"]


def test_other_process_that_is_faster_is_no_error(device: Device) -> None:
    """Its folder may appear while mv looks, and then mv fails."""
    if "busybox" in os.readlink(device.path / "bin/sh"):
        pytest.skip("busybox runs its own mv")
    shutil.copy(device.path / "bin/mv", device.path / "bin/true-mv")
    device.replace("mv", '/bin/true-mv "$@"', "exit 1")
    assert (device.start("check").returncode, len(device.unpacked)) == (7, 1)


def test_folder_that_runs_no_programs(device: Device) -> None:
    """It is told by trying, and what was unpacked goes."""
    script = f"/bin/sh /{FILE} check; echo $? {STATE_DIR}/.u* {STATE_DIR}/*"
    done = device.run("/bin/sh", "-c", script, prepare='mount -t tmpfs -o noexec none "$root/var/lib"')
    assert done.stdout == f"{ExitStatus.FAILED:d} {STATE_DIR}/.u* {STATE_DIR}/*\n"
    for word in (f"cannot start programs in {STATE_DIR}", "noexec", "balena-migrate-amd64.tar.gz"):
        assert word in done.stderr


def test_folder_without_room(device: Device) -> None:
    done = device.start("check", prepare='mount -t tmpfs -o size=64k none "$root/var/lib"')
    assert_refused(done, f"cannot unpack into {STATE_DIR}, where the kit takes 1 MiB")


def test_folder_that_cannot_be_written(device: Device) -> None:
    done = device.start("check", prepare='mount -t tmpfs -o ro none "$root/var/lib"')
    assert_refused(done, f"cannot create a folder in {STATE_DIR}")


def test_without_root_nothing_is_kept(device: Device) -> None:
    """Good for --help and for the checks that need no root; the status is passed on here, too."""
    argv = ("unshare", "--user", "--map-user=1000", "--map-group=1000", f"--root={device.path}", "--wd=/")
    done = subprocess.run(
        [*argv, "/bin/sh", f"/{FILE}", "--help"], capture_output=True, text=True, env={"PATH": "/bin"}, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "<balena-migrate><--help>0022\n", "")
    assert device.unpacked == list((device.path / "tmp").iterdir()) == []


def test_pipe_is_refused(device: Device) -> None:
    done = device.run("/bin/sh", "-c", f"/bin/sh -s check <{FILE}")
    assert_refused(done, "from a pipe", "save it to a file")


def test_missing_programs_are_named(device: Device) -> None:
    if "busybox" in os.readlink(device.path / "bin/sh"):
        pytest.skip("busybox has them all")
    for name in ("gzip", "tar"):
        (device.path / "bin" / name).unlink()
    assert_refused(device.start("check"), "lacks what unpacking needs: gzip tar")


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [
        ("x86_64", "amd64"),
        ("i386", "i386"),
        ("i686", "i386"),
        ("aarch64", "arm64"),
        ("armv8l", "armhf"),
        ("armv7l", "armhf"),
        ("armv6l", "armel"),
    ],
)
@pytest.mark.parametrize("device", ["dash"], indirect=True)
def test_kit_for_a_machine(device: Device, machine: str, architecture: str) -> None:
    """The kernel's word decides; all other machines are told which kit is theirs."""
    assert machine in PLATFORMS[Architecture(architecture)].machines
    device.replace("uname", f"echo {machine}")
    done = device.start("check")
    if architecture == "amd64":
        assert done.returncode == 7
    else:
        assert_refused(done, f"this kit is for amd64; this machine ({machine}) takes the one for {architecture}")
        assert device.unpacked == []


@pytest.mark.parametrize("device", ["dash"], indirect=True)
def test_no_kit_for_other_machines(device: Device) -> None:
    device.replace("uname", "echo riscv64")
    assert_refused(device.start("check"), "there is none for the machine riscv64")


EVIL: dict[str, tuple[tuple[str, bytes, str], ...]] = {
    "above": ((f"{KIT}/../../../../evil", tarfile.REGTYPE, ""),),
    "absolute": (("/evil", tarfile.REGTYPE, ""),),
    "through a link": ((f"{KIT}/link", tarfile.SYMTYPE, "/"), (f"{KIT}/link/evil", tarfile.REGTYPE, "")),
    "through a relative link": (
        (f"{KIT}/link", tarfile.SYMTYPE, "../../../../.."),
        (f"{KIT}/link/evil", tarfile.REGTYPE, ""),
    ),
    "hard link": ((f"{KIT}/name", tarfile.LNKTYPE, "/precious"), (f"{KIT}/name", tarfile.REGTYPE, "")),
    "link in place of a file": ((f"{KIT}/name", tarfile.SYMTYPE, "/precious"), (f"{KIT}/name", tarfile.REGTYPE, "")),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_is_packed_stays_in_its_folder(device: Device, tmp_path: Path, name: str) -> None:
    """Whatever is in the archive, and whichever tar the device has: nothing beside the kit's folder is new or changed.

    The sum is right: somebody made the file so.
    """
    (device.path / "precious").write_text("as it was")
    kit = Kit(path=tmp_path / "kit", architecture=Architecture.AMD64)
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for each, text in (("balena-migrate", LAUNCHER), ("base/busybox", "#!/bin/sh\n")):
            add(archive, f"{KIT}/{each}", tarfile.REGTYPE, "", text)
        for each, kind, target in EVIL[name]:
            add(archive, each, kind, target, "evil" if kind == tarfile.REGTYPE else "")
    write_self_extracting(kit, tmp_path / "evil.tar.gz", device.file)
    before = sorted(path for path in device.path.rglob("*") if not path.is_relative_to(device.state))
    assert device.start("check").returncode in (7, ExitStatus.FAILED)
    device.state.mkdir(exist_ok=True)
    after = sorted(path for path in device.path.rglob("*") if not path.is_relative_to(device.state))
    assert [path for path in after if path not in (*before, device.state.parent)] == []
    assert [path for path in device.state.iterdir() if not path.name.startswith("kit-")] == []
    assert (device.path / "precious").read_text() == "as it was"


def add(archive: tarfile.TarFile, name: str, kind: bytes, target: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, target, 0o755, len(text)
    archive.addfile(info, io.BytesIO(text.encode()))


# The kit itself -----------------------------------------------------------------------------------------------------


@pytest.mark.kit
@pytest.mark.parametrize("root", [Architecture.AMD64, Architecture.ARM64], indirect=True)
def test_kit_starts_from_one_file(root: Root, roots: Callable[[str], Path], tmp_path: Path) -> None:
    """As on a device: with each shell, and for arm64 with the busybox of that architecture."""
    architecture = root.kit.architecture
    build = ["kit", "build", f"--architecture={architecture}", "--self-extracting", f"--output={tmp_path}"]
    subprocess.run([sys.executable, "-m", "balena_migrate", *build], check=True)
    file = tmp_path / f"balena-migrate-{architecture}.run"
    for shell in SHELLS if architecture is Architecture.AMD64 else ("busybox",):
        device = make_device(roots(shell), file, tmp_path / shell)
        if shell == "busybox":
            shutil.copy(root.kit.base / "busybox", device.path / "bin/busybox")
        for folder in ("etc", "sys", "var/tmp"):
            (device.path / folder).mkdir(parents=True)
        started = enter(device.path, architecture, "/bin/sh", FILE, "--version")
        assert (started.returncode, started.stdout.split()[-1]) == (0, VERSION), started.stderr
        checked = enter(device.path, architecture, "/bin/sh", FILE, "check")
        assert (checked.returncode, checked.stderr.count("unpacking")) == (1, 0)
        assert "image" in checked.stdout + checked.stderr
