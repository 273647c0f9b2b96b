# SPDX-License-Identifier: Apache-2.0
"""Signatures of files, each in a file of its own beside it, made and checked with GnuPG."""

from __future__ import annotations

import os
from pathlib import Path

from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.system import System

SIGNATURE_SUFFIX = ".sig"
GNUPG_VARIABLES = ("HOME", "GNUPGHOME", "GPG_TTY")
"""Where GnuPG finds the user's keys, and where it asks for a passphrase (gpg-agent(1))."""
PASSPHRASE_TIMEOUT_S = 600
ARMORED = b"-----BEGIN PGP"
NOT_FOUND = 127


def sign(system: System, file: Path, key: str) -> Path:
    """The file has a signature of the user's key beside it, which is returned. Raises FileError."""
    signature = signature_of(file)
    environment = [f"{name}={os.environ[name]}" for name in GNUPG_VARIABLES if name in os.environ]
    gpg = ["env", *environment, "gpg", "--batch", "--yes", "--quiet", "--local-user", key]
    try:
        system.run([*gpg, "--output", signature, "--detach-sign", file], timeout_s=PASSPHRASE_TIMEOUT_S)
    except CommandError as error:
        reason = f"gpg cannot sign it with the key {key}: {error.last_lines}"
        raise FileError(file, reason, hint="gpg --list-secret-keys shows yours") from None
    return signature


def check_signature(system: System, file: Path, keys: Path) -> None:
    """A key of the file `keys` has signed the file as it is now. Raises FileError.

    gpgv takes every key of that file for a good one, also where it has expired (gpgv(1)).
    """
    signature = signature_of(file)
    if not signature.is_file():
        raise FileError(signature, "is missing: there is no signature to check", hint="copy it beside the kit, too")
    if system.read_bytes(keys.absolute()).startswith(ARMORED):
        raise FileError(keys, "has its keys as text, which gpgv does not read", hint=f"gpg --dearmor {keys}")
    try:
        system.run(["gpgv", "--quiet", "--keyring", keys.absolute(), signature, file])
    except CommandError as error:
        if error.returncode == NOT_FOUND:
            raise FileError(file, "there is no gpgv to check its signature", hint="apt-get install gpgv") from None
        reason = f"its signature is not one of {keys}, or is of other content: {error.last_lines}"
        raise FileError(file, reason, hint="get kit and key again from whom you trust") from None


def signature_of(file: Path) -> Path:
    """Where the signature of a file is."""
    return file.with_name(file.name + SIGNATURE_SUFFIX)
