# SPDX-License-Identifier: Apache-2.0
"""The files of resin-boot: what identifies the image, and what its boot chain needs."""

from __future__ import annotations

import gzip
import hashlib
import json

from balena_migrate.workstation.lab.lookalike.sources import Sources
from balena_migrate.workstation.lab.lookalike.specs import Board, ImageSpec

MARKER = b"DO NOT REMOVE THIS FILE\n"
INITRAMFS_NAME = "initramfs.cpio.gz"

_UPSTREAM_CHIPS = {"bcm2708": "bcm2835", "bcm2709": "bcm2836", "bcm2710": "bcm2837", "bcm2711": "bcm2711"}
"""The firmware's names of device trees differ from the kernel's, which name the chips differently."""
_UPSTREAM_NAMES = {"bcm2711-rpi-cm4": "bcm2711-rpi-cm4-io"}

_FIRMWARE = {
    Board.PI_ARMV6: ("bootcode.bin", "start.elf", "fixup.dat"),
    Board.PI_ARMV7: ("bootcode.bin", "start.elf", "fixup.dat"),
    Board.PI_ARM64: ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"),
}
_FIRMWARE_TEXT = b"In a real image this is firmware of the Raspberry Pi. A virtual device does not run it.\n"

_SAMPLE_CONNECTION = b"""\
# A template, which is not read under this name. Copy it to a name without a suffix and fill it in.
[connection]
id=sample-wifi
type=wifi

[wifi]
mode=infrastructure
ssid=NAME_OF_THE_NETWORK

[wifi-security]
key-mgmt=wpa-psk
psk=PASSPHRASE_OF_THE_NETWORK

[ipv4]
method=auto

[ipv6]
addr-gen-mode=stable-privacy
method=auto
"""
_SAMPLE_PROXY = b"""\
base {
    log_debug = off;
    log = stderr;
    daemon = off;
    redirector = iptables;
}
redsocks {
    type = socks5;
    ip = 192.0.2.1;
    port = 1080;
    local_ip = 127.0.0.1;
    local_port = 12345;
}
"""


def identity_files(spec: ImageSpec) -> dict[str, bytes]:
    """Path -> content of the files that identify the image, and of the folders that a user fills."""
    brand = "balena" if spec.renamed else "resin"
    sample = "balena-sample.ignore" if spec.version >= (2, 82) else "resin-sample.ignore"
    return {
        f"{brand}-image": MARKER,
        "config.json": _json(_config(spec)),
        "device-type.json": _json(_device_type(spec)),
        "os-release": _os_release(spec),
        "image-version-info": f"{brand}-image-{spec.machine}-20260101000000\n".encode(),
        "splash/balena-logo.png": b"",
        f"system-connections/{sample}": _SAMPLE_CONNECTION,
        "system-connections/README.ignore": b"NetworkManager reads the keyfiles in this folder.\n",
        "system-proxy/redsocks.conf.ignore": _SAMPLE_PROXY,
        "system-proxy/README.ignore": b"redsocks.conf and no_proxy in this folder set up a proxy.\n",
    }


def pi_files(spec: ImageSpec, sources: Sources, initramfs: bytes) -> dict[str, bytes]:
    """Path -> content of the files that the firmware reads.

    In a real image, U-Boot has the kernel's name; here it is Linux itself. A 64-bit kernel is compressed, which the
    firmware allows, since it would fill the partition otherwise.
    """
    kernel = sources.kernel.read_bytes()
    files = {
        "config.txt": _config_txt(spec),
        "cmdline.txt": b"console=ttyAMA0,115200 rootfstype=ext4 rootwait quiet consoleblank=0\n",
        spec.kernel_name: gzip.compress(kernel, 6, mtime=0) if spec.board is Board.PI_ARM64 else kernel,
        INITRAMFS_NAME: initramfs,
        "overlays/README": b"Overlays for the device tree are in this folder.\n",
        "extra_uEnv.txt": b"",
    }
    files |= dict.fromkeys(_FIRMWARE[spec.board], _FIRMWARE_TEXT)
    return files | {f"{name}.dtb": _device_tree(sources, name) for name in spec.device_trees}


def fingerprint(files: dict[str, bytes]) -> bytes:
    """The MD5 sums of all files except config.json, sorted by path, in md5sum's format."""
    lines = (f"{hashlib.md5(files[path]).hexdigest()}  /{path}\n" for path in sorted(files))
    return "".join(line for line in lines if not line.endswith("  /config.json\n")).encode()


def _config(spec: ImageSpec) -> dict[str, object]:
    config: dict[str, object] = {"deviceType": spec.device_type, "persistentLogging": False}
    return config | ({"hostname": "resin"} if spec.developer else {})


def _device_type(spec: ImageSpec) -> dict[str, object]:
    return {
        "slug": spec.device_type,
        "version": 1,
        "aliases": [spec.device_type, *spec.aliases],
        "name": spec.device_name,
        "arch": spec.board.balena_arch,
        "state": "released",
        "yocto": {
            "machine": spec.machine,
            "image": "balena-image" if spec.renamed else "resin-image",
            "fstype": "balenaos-img" if spec.renamed else "resinos-img",
            "version": "yocto-dunfell" if spec.renamed else "yocto-rocko",
            "compressed": True,
        },
        "configuration": {"config": {"partition": {"primary": 1}, "path": "/config.json"}},
    }


def _os_release(spec: ImageSpec) -> bytes:
    name, ident = ("balenaOS", "balena-os") if spec.renamed else ("Resin OS", "resin-os")
    variant = "dev" if spec.developer else "prod"
    values = {
        "ID": ident,
        "NAME": name,
        "VERSION": spec.os_version,
        "VERSION_ID": spec.os_version,
        "PRETTY_NAME": f"{name} {spec.os_version}",
        "MACHINE": spec.machine,
    }
    if spec.version < (2, 85):
        values |= {"VARIANT": "Development" if spec.developer else "Production", "VARIANT_ID": variant}
    return "".join(f'{key}="{value}"\n' for key, value in values.items()).encode()


def _config_txt(spec: ImageSpec) -> bytes:
    lines = ["dtparam=i2c_arm=on", "dtparam=spi=on", "dtparam=audio=on", "disable_splash=1", "avoid_warnings=1"]
    if spec.board is Board.PI_ARM64:
        lines.append("arm_64bit=1")
    lines += ["enable_uart=1", f"initramfs {INITRAMFS_NAME} followkernel"]
    return "".join(f"{line}\n" for line in lines).encode()


def _device_tree(sources: Sources, name: str) -> bytes:
    chip, _, board = name.partition("-")
    upstream = _UPSTREAM_NAMES.get(name, f"{_UPSTREAM_CHIPS[chip]}-{board}")
    return sources.device_tree(upstream).read_bytes()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
