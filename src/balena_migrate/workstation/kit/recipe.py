# SPDX-License-Identifier: Apache-2.0
"""The recipe of the kit: the Debian packages, the same for all architectures, a wheel, and what is taken from them."""

from __future__ import annotations

from balena_migrate.core.architectures import Architecture

PYTHON_VERSION = (3, 11)
"""The suite's Python. The Python that builds the kit compiles its modules, so it has to have the same version."""

PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "cpio",
    "fdisk",
    "gzip",
    "libpython3.11-stdlib",
    "mtools",
    "python3-zstandard",
    "python3.11-minimal",
    "tar",
    "util-linux",
    "zstd",
)

WHEEL = "zlib-ng==1.1.0"
"""Debian 12 has no package of it. Its files have the hashes of pip's own hash checking below."""
WHEEL_FILES = {
    Architecture.AMD64: ("manylinux2014_x86_64", "4165d05376742bbbeb448b7a2c44ad492c44d19011fb4bf1261af01357d107df"),
    Architecture.ARM64: ("manylinux2014_aarch64", "23a4b90f5b5f3b1168e14d97bf5d2082e832c3c02486e7e2bc7f599d147af444"),
}
"""pip's name of the platform, and the SHA-256. There is none for the others: they unpack with Python's own zlib."""

BASE_PROGRAMS = ("blkid",)
MORE_PROGRAMS = (
    *("mattrib", "mcopy", "mdel", "mdir", "minfo", "mmd", "mtype"),
    *("findmnt", "lsblk", "sfdisk"),
    *("cpio", "gzip", "tar", "zstd"),
)

LOADED_LIBRARIES = ("libgcc_s.so.1",)
"""Libraries that no file names: glibc loads this one when a thread is cancelled or exits."""

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
"""Python loads `encodings` before `more` is on its path, so every encoding must be in `base`."""

MORE_MODULES = ("ssl", "urllib.request")

DISTRIBUTIONS = ("click", "rich", "rich-click", "PyYAML")

LEFT_OUT = frozenset(
    {
        # What only a workstation runs.
        "balena_migrate.workstation",
        *(f"balena_migrate.cli.{name}" for name in ("rehearsal", "verbs.config", "verbs.rehearse")),
        # The other way to reach libzstd, for other Pythons.
        "zstandard.backend_cffi",
        # Workers that are processes, which need sockets and OpenSSL.
        "concurrent.futures.process",
        # Imported by the standard library for its own tests, for developers, or on other systems.
        *("_aix_support", "_bootsubprocess", "_osx_support", "_py_abc", "_pydecimal", "_testcapi"),
        *("_testinternalcapi", "distutils", "doctest", "ensurepip", "lib2to3", "nt", "ntpath", "pdb", "pydoc"),
        *("readline", "statistics", "test", "tkinter", "unittest", "venv", "webbrowser", "zipimport"),
    }
)
"""Modules that no kit has, although others import them: those all work without."""

CODE_PAGE = "IBM850"
CODE_PAGES = f"""\
alias CP850// {CODE_PAGE}//
module {CODE_PAGE}// INTERNAL {CODE_PAGE} 1
module INTERNAL {CODE_PAGE}// {CODE_PAGE} 1
"""
"""mtools reads short names in code page 850 through iconv, which finds its converters by this file."""
