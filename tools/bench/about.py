# SPDX-License-Identifier: Apache-2.0
"""What was measured, and with what: the lines above a table."""

from __future__ import annotations

from pathlib import Path

from balena_migrate.core.units import in_mib
from bench.image import BenchImage
from bench.target import Target

DECODERS = """
import sys
found = ["Python " + sys.version.split()[0]]
for name in ("zlib_ng", "zstandard"):
    try:
        found.append(name + " " + __import__(name).__version__)
    except ImportError:
        pass
print(", ".join(found))
"""
"""Prints the version of the Python that runs it, and of the libraries that unpack an image, where it has them."""


def about_image(image: BenchImage, runs: int) -> str:
    forms = {".img.gz": image.packed, ".img.zst": image.prepared}
    sizes = ", ".join(f"{in_mib(path.stat().st_size)} as {name}" for name, path in forms.items())
    return f"image of {in_mib(image.size_bytes)}, {in_mib(image.used_bytes)} in use, {sizes}; medians of {runs} runs"


def about_machine(target: Target) -> list[str]:
    """The machine that has the target, and what the methods use there. On a board this starts each of their Pythons
    once, so that no run has to compile their modules."""
    kernel, processors = _output(target, "uname", "-s", "-r", "-m"), _output(target, "nproc")
    python, bmaptool = _output(target, target.python, "-c", DECODERS), _output(target, "bmaptool", "--version")
    return [f"{kernel}, processors: {processors}", f"{python}; {bmaptool}"]


def _output(target: Target, *argv: str | Path) -> str:
    return target.run([argv]).output.strip()
