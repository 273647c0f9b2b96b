# SPDX-License-Identifier: Apache-2.0
"""The recipe of the kit, one for all architectures: which Debian packages, and what is taken from them."""

from __future__ import annotations

PYTHON_VERSION = (3, 11)
"""The suite's Python. Byte code is made by the Python that builds, so that has to be of the same version."""

PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "cpio",
    "fdisk",
    "gzip",
    "libpython3.11-stdlib",
    "mtools",
    "python3.11-minimal",
    "tar",
    "util-linux",
    "zstd",
)

BASE_PROGRAMS = ("blkid",)
MORE_PROGRAMS = (
    *("mattrib", "mcopy", "mdel", "mdir", "minfo", "mmd", "mtype"),
    *("findmnt", "lsblk", "sfdisk"),
    *("cpio", "gzip", "tar", "zstd"),
)

LOADED_LIBRARIES = ("libgcc_s.so.1",)
"""Libraries that no file names: glibc loads this one when a thread ends early."""

BASE_MODULES = (
    "balena_migrate.stage2.main",
    "runpy",
    *(
        f"encodings.{name}"
        for name in (
            *("aliases", "ascii", "cp437", "idna", "latin_1", "punycode", "raw_unicode_escape", "unicode_escape"),
            *("utf_16", "utf_16_be", "utf_16_le", "utf_8", "utf_8_sig"),
        )
    ),
)
"""Python loads `encodings` before it knows of the part `more`, so all of it has to be in `base`."""

MORE_MODULES = ("ssl", "urllib.request")

DISTRIBUTIONS = ("click", "rich", "rich-click", "PyYAML")

LEFT_OUT = frozenset(
    {
        # What only a workstation runs.
        "balena_migrate.workstation",
        *(f"balena_migrate.cli.{name}" for name in ("rehearsal", "verbs.config", "verbs.kit", "verbs.rehearse")),
        # Named by the standard library for its own tests and for developers, or on other systems.
        *("_aix_support", "_bootsubprocess", "_osx_support", "_py_abc", "_pydecimal", "_testcapi"),
        *("_testinternalcapi", "distutils", "doctest", "ensurepip", "lib2to3", "nt", "ntpath", "pdb", "pydoc"),
        *("readline", "statistics", "test", "tkinter", "unittest", "venv", "webbrowser", "zipimport"),
    }
)
"""Modules that are never taken along, though others import them: each of those does without."""

CODE_PAGE = "IBM850"
CODE_PAGES = f"""\
alias CP850// {CODE_PAGE}//
module {CODE_PAGE}// INTERNAL {CODE_PAGE} 1
module INTERNAL {CODE_PAGE}// {CODE_PAGE} 1
"""
"""mtools reads short names in code page 850, by way of iconv, which finds its modules by this file."""
