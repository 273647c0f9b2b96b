# SPDX-License-Identifier: Apache-2.0
"""Plays a scenario on a virtual device and returns the result."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from balena_migrate.core.errors import MigrateError
from balena_migrate.core.progress import Say
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.lab.acts import Act, Stage1
from balena_migrate.workstation.lab.cuts.history import begin_recording, end_recording
from balena_migrate.workstation.lab.diskstate import find_disk_state
from balena_migrate.workstation.lab.leaks import leak_checks, leave_out_reports, read_secrets
from balena_migrate.workstation.lab.prepare import prepare
from balena_migrate.workstation.lab.report import render
from balena_migrate.workstation.lab.result import Check, Rehearsal, ran_to_its_end
from balena_migrate.workstation.lab.run import Record, Run, read_old_system
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.scenarios.table import shares_stage1
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.virtual import VirtualDevice
from balena_migrate.workstation.lab.wishes import Options

RECORD = "record.pickle"


@dataclass(frozen=True, kw_only=True)
class Places:
    """`work` keeps disks that stage 1 has armed, for scenarios that share one; `cache` keeps what is built once."""

    folder: Path
    """This rehearsal's own: its serial logs and, with `keep`, its disk."""
    work: Path
    cache: Path


def rehearse(scenario: Scenario, options: Options, places: Places, say: Say) -> Rehearsal:
    """Play the scenario.

    A device that misbehaves is a failed check; MigrateError is raised only if the device cannot be built.
    """
    places.folder.mkdir(parents=True, exist_ok=True)
    with _disk_folder(places.folder, keep=options.keep) as disks:
        record = _begin(scenario, options, places, disks, say)
        recording = begin_recording(places.folder, record.prepared.drives) if options.record else None
        acts = scenario.acts_for(record.prepared.expected.config)
        timeline = _play(record, acts[record.acts_played :], places.folder, say, recording)
        if recording:
            end_recording(recording, record, timeline.window_s)
        leave_out_reports(places.folder)
        result = _result(scenario, record, timeline, places.folder)
        return with_checks(result, leak_checks(record.secrets, record.prepared, places.folder, render(result)))


@contextlib.contextmanager
def _disk_folder(folder: Path, *, keep: bool) -> Iterator[Path]:
    """The folder of the drives; it is removed afterwards unless `keep` is set."""
    if keep:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="disk-", dir=folder) as name:
            yield Path(name)


def _begin(scenario: Scenario, options: Options, places: Places, disks: Path, say: Say) -> Record:
    """The device as its owner prepared it, or, if other scenarios start the same way, as stage 1 left it."""
    if options.record or not shares_stage1(scenario):
        return _prepare(scenario, options, disks, places.cache, say)
    record = kept(scenario, options, places, (Stage1(),), say)
    for log in record.prepared.disk.parent.glob("*.log"):
        shutil.copy(log, places.folder)
    say("copying the disk that stage 1 has armed")
    record.prepared = record.prepared.copied(disks)
    return record


def kept(scenario: Scenario, options: Options, places: Places, acts: tuple[Act, ...], say: Say) -> Record:
    """The device, as its owner prepared it, after these acts, which are played once for all who ask. It is not to be
    changed."""

    def make(folder: Path) -> None:
        record = _prepare(scenario, options, folder, places.cache, say)
        _play(record, acts, folder, say)
        (folder / RECORD).write_bytes(pickle.dumps(record))

    device = (scenario.device, scenario.wishes, scenario.expect, acts)
    folder = cached(places.work, "armed" if acts else "ready", (device, options), make)
    record: Record = pickle.loads((folder / RECORD).read_bytes())  # our own
    record.prepared = record.prepared.moved(folder)
    return record


def _prepare(scenario: Scenario, options: Options, disks: Path, cache: Path, say: Say) -> Record:
    prepared = prepare(scenario.device, scenario.wishes, scenario.expect, options, disks, cache, say)
    return Record(
        prepared=prepared,
        before=read_old_system(prepared),
        disk_before=find_disk_state(prepared.disk),
        secrets=read_secrets(prepared),
    )


def _play(record: Record, acts: Sequence[Act], folder: Path, say: Say, recording: Path | None = None) -> Timeline:
    """Play the acts, up to the first one in which the device gets stuck. Afterwards the device is off."""
    timeline = Timeline(say, record.steps, record.now_s)
    device = VirtualDevice(
        machine=record.prepared.machine,
        drives=record.prepared.drives,
        folder=folder,
        timeline=timeline,
        recording=recording,
    )
    with Run(record=record, virtual=device) as run:
        try:
            for act in () if record.stuck else acts:
                record.checks.extend(act.play(run))
                record.acts_played += 1
        except (MigrateError, OSError, ValueError) as error:
            # The last two: a file is missing from its disk, or its output is not JSON.
            record.stuck = True
            record.checks.append(ran_to_its_end(str(error)))
    record.steps, record.now_s = timeline.steps, timeline.now()
    return timeline


def _result(scenario: Scenario, record: Record, timeline: Timeline, folder: Path) -> Rehearsal:
    prepared, armed = record.prepared, record.armed
    return Rehearsal(
        scenario=scenario.name,
        description=scenario.description,
        passed=bool(record.checks) and all(check.passed for check in record.checks),
        checks=tuple(record.checks),
        timeline=timeline.steps,
        serial_logs=tuple(sorted(log.name for log in folder.glob("*.log"))),
        window_s=timeline.window_s,
        stage1_s=record.stage1_s,
        stage2_s=timeline.stage2_s,
        initramfs_bytes=armed.initramfs_bytes if armed else None,
        peak_memory_bytes=timeline.peak_memory_bytes,
        image_used_bytes=prepared.content.used_bytes if prepared.content else None,
        flash=timeline.flash,
        disk_before=record.disk_before,
        disk_after=find_disk_state(prepared.disk),
        changes=armed.changes if armed else (),
        machine=prepared.machine.facts(prepared.memory_mib),
        accelerator=prepared.machine.accelerator,
    )


def with_checks(result: Rehearsal, checks: tuple[Check, ...]) -> Rehearsal:
    """The same with these checks at its end."""
    passed = result.passed and all(check.passed for check in checks)
    return replace(result, checks=(*result.checks, *checks), passed=passed)
