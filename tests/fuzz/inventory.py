# SPDX-License-Identifier: Apache-2.0
"""All readers of foreign bytes, with the errors that each may raise, and the functions of like names that are none."""

from __future__ import annotations

from tests.fuzz import boot, carried, device, disks, images, network
from tests.fuzz.reader import Reader

READERS: tuple[Reader, ...] = (
    *disks.READERS,
    *images.READERS,
    *boot.READERS,
    *network.READERS,
    *device.READERS,
    *carried.READERS,
)

_WHOLE_DEVICES = "tests/network/test_mutations.py and test_damaged_settings.py damage files of whole devices"
_CALLS = "hands what it finds to readers that are listed"
_PLAIN = "takes what it finds as it is, or line by line"
_OWN = "reads nothing of others'"
_KERNEL = "the answer is the kernel's, and of a fixed size"
_REASONS = {
    _WHOLE_DEVICES: (
        *(f"network.sources.{name}" for name in ("connman", "ifupdown", "netplan", "netplan.parts", "networkd")),
        *(f"network.sources.{name}" for name in ("networkmanager", "sysctl", "unread", "wpa_supplicant")),
        *("network.sources.dhcpcd.read", "network.sources.iwd.read", "network.wpa_profiles.read_file"),
        *("network.read.read_network", "network.name_servers.read_name_servers"),
        *("network.dhclient.read_conf", "network.dhclient.read_leases", "network.proxy.read_proxy"),
    ),
    _CALLS: (
        *("core.values.parse_json", "facts.boot.read_boot", "facts.disks.read_disks", "facts.gather"),
        *("facts.hardware.read_hardware", "facts.network.read_network_facts", "facts.network.read_station"),
        *("images.formats._streams.read_streams", "images.partitions.known_disk.read_identity"),
        *("core.kit_sums.read_folder", "status.read_status", "survey"),
    ),
    _PLAIN: (
        *("carried.backup.archive.read_chunk", "core.journal.read_boot_id", "facts.boot.read_boot_files"),
        *("initramfs.composed.drivers", "network.reading.read_all", "network.reading.read_config"),
        *("network.reading.read_layered", "network.write.certificates"),
    ),
    _OWN: (
        *("carried.backup.tree.read_left_out", "carried.reachability.read_endpoints", "facts.clock.read_clock"),
        *("images.known.read_code", "images.prepare.read_back"),
    ),
    _KERNEL: ("facts.network.read_frequency", "facts.network.read_ssid"),
}
ELSEWHERE = {name: reason for reason, names in _REASONS.items() for name in names}
"""Function or module -> why it is not in READERS."""
