# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate rehearse`, and ./rehearse, on a workstation."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from balena_migrate.workstation.lab.cuts.result import CutsResult
    from balena_migrate.workstation.lab.faults.result import FaultsResult
    from balena_migrate.workstation.lab.result import Rehearsal

EXIT_FAILED = 1

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
existing_folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
@click.option("--list", "list_only", is_flag=True, help="List all scenarios and exit.")
@click.option("--all", "run_all", is_flag=True, help="Run every scenario.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file."
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Set KEY in the settings file; repeatable.")
@click.option("--overlay", type=existing_folder, help="Copy the files of this folder to the device first.")
@click.option("--config-json", type=existing_file, help="Use this config.json instead of an invented one.")
@click.option("--image", type=existing_file, help="Use your own image; only its serial console is checked.")
@click.option("--record", is_flag=True, help="Record all writes to the device's boot disk.")
@click.option(
    "--cuts",
    "count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut the power N times before the line, N / 5 after it.",
)
@click.option("--boots", type=click.IntRange(min=0), default=4, help="Boot this many of the disks that cuts leave.")
@click.option("--seed", type=int, default=1, help="For what is drawn of cuts and boots.")
@click.option("--faults", is_flag=True, help="Let each thing go wrong in each step; takes hours, and can be resumed.")
@click.option("--keep", is_flag=True, help="Keep the device's disk as rehearsal/SCENARIO/disk.img.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep disks that scenarios share in this folder, for later calls.",
)
@click.option("--memory", "memory_mib", type=click.IntRange(min=64), metavar="MIB", help="The device's memory size.")
@click.option("--disk", "disk_mib", type=click.IntRange(min=2048), metavar="MIB", help="The device's disk size.")
def rehearse(
    names: tuple[str, ...],
    list_only: bool,
    run_all: bool,
    json_file: Path | None,
    settings: tuple[str, ...],
    overlay: Path | None,
    config_json: Path | None,
    image: Path | None,
    record: bool,
    count: int | None,
    boots: int,
    seed: int,
    faults: bool,
    keep: bool,
    work: Path | None,
    memory_mib: int | None,
    disk_mib: int | None,
) -> None:
    """Rehearse a migration on a virtual device.

    Without a name, the device is a PC with BIOS. The report is in rehearsal/SCENARIO/. The exit status is 0 only if
    every scenario ran to completion and every check passed; with --cuts, if no cut leaves a device that does not come
    up, but for the window of the flash; with --faults, if the old system or the new one is there after each. A
    recording that is there is used again, and so are verdicts.
    """
    from balena_migrate.cli import rehearsal
    from balena_migrate.workstation.lab.cuts.run import Wish
    from balena_migrate.workstation.lab.scenarios.table import DEFAULT_SCENARIO, SCENARIOS, find_scenario
    from balena_migrate.workstation.lab.wishes import Options

    if list_only:
        rehearsal.list_scenarios()
        return
    # Exit as on an error, so that every device, mount and temporary file is cleaned up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = Options(
        settings=dict(map(rehearsal.parse_setting, settings)),
        overlay=overlay,
        config_json=config_json,
        image=image,
        memory_mib=memory_mib,
        disk_mib=disk_mib,
        keep=keep,
        record=record,
    )
    wanted = [find_scenario(name) for name in (SCENARIOS if run_all else names or (DEFAULT_SCENARIO,))]
    with rehearsal.work_folder(work) as folder:
        results: list[Rehearsal | CutsResult | FaultsResult]
        if count:
            wish = Wish(count=count, boots=boots, seed=seed)
            results = [rehearsal.cut_one(scenario, options, folder, wish) for scenario in wanted]
        elif faults:
            results = [rehearsal.fault_one(scenario, options, folder) for scenario in wanted]
        else:
            results = [rehearsal.run_one(scenario, options, folder) for scenario in wanted]
    if json_file:
        rehearsal.write_json(results, json_file)
    if not all(result.passed for result in results):
        raise SystemExit(EXIT_FAILED)
