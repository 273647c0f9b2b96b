# SPDX-License-Identifier: Apache-2.0
"""QEMU as a context manager: a running device and its serial consoles; it is always stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qemu.qmp.error import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol
from qemu.qmp.qmp_client import ExecuteError

from balena_migrate.core.errors import LabError
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System, command_environment
from balena_migrate.workstation.cache import cache_folder, cached, locked, remove_others
from balena_migrate.workstation.lab import faulty_disk
from balena_migrate.workstation.lab.console import Console, LineHook
from balena_migrate.workstation.lab.faulty_disk import DiskError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 6.0
EVENT_TIMEOUT_S = 2.0
POLL_S = 0.02
MOVE_TIMEOUT_S = 120.0
MOST_BYTES_PER_S = 1 << 40
"""As fast as it can: QEMU holds itself back by default."""
LAST_CHARACTERS = 1500

TCG = "tcg,thread=multi"
KVM = "kvm"

# QEMU is killed by the kernel when the thread that started it dies, so that not even `kill -9` leaves one behind.
TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")


class Emulator:
    """A running QEMU: `consoles` are its serial consoles by name."""

    def __init__(
        self, process: subprocess.Popen[bytes], qmp: QEMUMonitorProtocol, consoles: dict[str, Console]
    ) -> None:
        self.process = process
        self.consoles = consoles
        self._qmp = qmp

    def wait_off(self, timeout_s: float) -> str:
        """Wait until the device is off; return QMP's reason: "guest-shutdown", or "guest-reset" with -no-reboot.

        Raises LabError if it stays on.
        """
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            tail = next(iter(self.consoles.values())).text[-LAST_CHARACTERS:]
            raise LabError(f"the device did not go off within {timeout_s:.0f} s", hint=tail) from None
        return self._shutdown_reason()

    def _shutdown_reason(self) -> str:
        with contextlib.suppress(QMPError, OSError, EOFError, asyncio.TimeoutError):
            while events := self._qmp.get_events(wait=EVENT_TIMEOUT_S):
                for event in events:
                    if event["event"] == "SHUTDOWN":
                        return str(event["data"]["reason"])
        return ""

    def command(self, name: str, /, **arguments: object) -> object:
        """What QEMU's monitor answers to the command. Raises QMPError."""
        return self._qmp.cmd(name, **arguments)

    def fail_disk(self, what: DiskError) -> None:
        """From now on such requests of the boot disk fail."""
        faulty_disk.fail(self.command, what)

    def heal_disk(self) -> None:
        """The boot disk works again; nothing happens if the device is off."""
        try:
            faulty_disk.heal(self.command)
        except ExecuteError as error:
            raise LabError(f"QEMU does not let the disk work again: {error}") from None
        except (QMPError, OSError, EOFError):
            pass  # the device is off

    def save(self, state: Path) -> None:
        """The device stands still, and the file has all of it but its drives. Raises LabError."""
        self._qmp.cmd("stop")
        self._qmp.cmd("migrate-set-parameters", **{"max-bandwidth": MOST_BYTES_PER_S})
        self._qmp.cmd("migrate", uri=f"exec:cat >{shlex.quote(str(state))}")
        self._wait_until_moved()

    def load(self, state: Path) -> None:
        """The device, which was started to wait for it, stands still as the saved one did. Raises LabError."""
        self._qmp.cmd("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
        self._wait_until_moved()

    def _wait_until_moved(self) -> None:
        def look() -> None:
            answer: Any = self._qmp.cmd("query-migrate")
            status = answer.get("status")
            if status == "failed":
                raise ValueError(status)
            if status != "completed":
                raise LabError(f"the device's state is not there after {MOVE_TIMEOUT_S:.0f} s: {status}")

        try:
            retry(look, on=LabError, limit_s=MOVE_TIMEOUT_S, pause_s=POLL_S)
        except (ValueError, QMPError) as error:
            raise LabError(f"QEMU does not take the device's state: {error}") from None

    def go_on(self) -> None:
        """The device runs, from where it stands."""
        self._qmp.cmd("cont")

    def cut_power(self) -> None:
        """Cut the device's power: what it has not written yet is lost."""
        with contextlib.suppress(QMPError, OSError, EOFError):
            self._qmp.cmd("quit")
        self.wait_off(STOP_TIMEOUT_S)


@contextlib.contextmanager
def running(
    program: str,
    arguments: Sequence[str],
    *,
    serial_logs: dict[str, Path],
    clock: Callable[[], float] = time.monotonic,
    on_line: LineHook | None = None,
    state: Path | None = None,
) -> Iterator[Emulator]:
    """A device that is on within the context. `serial_logs` names its serial consoles, in order.

    The device starts, or goes on from the state that another one was saved in, once every console is being read;
    `on_line` gets each line of the first one. Raises LabError if QEMU does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="balena-migrate-qemu-")))
        argv = [*TIED_TO_US, program, *arguments, "-S", *_serial_arguments(folder, serial_logs)]
        argv += ["-incoming", "defer"] if state else []
        process = stack.enter_context(_process(argv, folder / "errors"))
        qmp = stack.enter_context(_monitor(process, folder))
        consoles = {
            name: stack.enter_context(Console(folder / name, log, clock, None if index else on_line))
            for index, (name, log) in enumerate(serial_logs.items())
        }
        emulator = Emulator(process, qmp, consoles)
        if state:
            emulator.load(state)
        emulator.go_on()
        yield emulator


def _serial_arguments(folder: Path, names: dict[str, Path]) -> list[str]:
    arguments = ["-qmp", f"unix:{folder}/qmp,server=on,wait=off"]
    for name in names:
        arguments += ["-chardev", f"socket,id={name},path={folder}/{name},server=on,wait=off"]
        arguments += ["-serial", f"chardev:{name}"]
    return arguments


@contextlib.contextmanager
def _process(argv: Sequence[str], errors: Path) -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    with errors.open("wb") as file:
        process = subprocess.Popen(argv, stdin=null, stdout=null, stderr=file, env=command_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _monitor(process: subprocess.Popen[bytes], folder: Path) -> Iterator[QEMUMonitorProtocol]:
    qmp = _connect(process, folder)
    try:
        yield qmp
    finally:
        with contextlib.suppress(QMPError, OSError, EOFError):
            qmp.close()


def _connect(process: subprocess.Popen[bytes], folder: Path) -> QEMUMonitorProtocol:
    """A connection to QEMU's monitor. Raises LabError, with QEMU's own words, where it does not come up."""
    # The library would log each try that came too early as an error.
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    qmp = QEMUMonitorProtocol(str(folder / "qmp"))

    def raise_if_ended(error: Exception) -> None:
        if process.poll() is not None:
            raise error

    try:
        retry(qmp.connect, on=QMPError, limit_s=START_TIMEOUT_S, pause_s=POLL_S, failed=raise_if_ended)
    except QMPError:
        said = (folder / "errors").read_text(errors="replace").strip()
        raise LabError(f"QEMU does not start: {said or 'it does not answer'}") from None
    return qmp


@functools.cache
def find_accelerator(kernel: Path) -> str:
    """KVM if it actually runs a kernel, else QEMU's own emulation (TCG).

    A usable /dev/kvm proves nothing: with nested virtualisation, some guests hang as soon as their kernel starts. So
    this kernel is started without a root file system: if KVM works, it panics and exits within the time limit. That is
    tried once after each start of the workstation.
    """
    if not Path("/dev/kvm").exists():
        return TCG
    cache, boot_id = cache_folder(), Path("/proc/sys/kernel/random/boot_id").read_text()

    def make(folder: Path) -> None:
        (folder / "name").write_text(_try_kvm(kernel))

    with locked(cache / ".accelerator.lock"):
        found = cached(cache, "accelerator", (boot_id, read_version("qemu-system-x86_64")), make)
        remove_others(found)
        return (found / "name").read_text()


def _try_kvm(kernel: Path) -> str:
    """The accelerator with which this kernel runs."""
    arguments = ["-machine", "q35", "-accel", KVM, "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none"]
    arguments += ["-no-reboot", "-kernel", str(kernel), "-append", "quiet panic=-1"]
    try:
        argv = [*TIED_TO_US, "qemu-system-x86_64", *arguments]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return TCG
    return KVM if done.returncode == 0 else TCG


@functools.cache
def read_version(program: str) -> str:
    """The first line of `--version`."""
    return System().run([program, "--version"]).text.partition("\n")[0]


def pc_arguments(disks: Sequence[str], *, memory_mib: int, accelerator: str, processor: str = "qemu64") -> list[str]:
    """A PC with SeaBIOS, these arguments for its disks, and a network card without Internet access.

    One processor of a plain model: with two devices on two host processors, that is a third faster than two processors
    of the richest model each; a single device loses a tenth.
    """
    return [
        *("-machine", "q35", "-accel", accelerator, "-cpu", processor, "-smp", "1", "-m", f"{memory_mib}M"),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *disks,
        *("-netdev", "user,id=lan,restrict=on", "-device", "e1000e,netdev=lan,romfile="),
        *("-device", "virtio-rng-pci"),
    ]
