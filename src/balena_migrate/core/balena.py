# SPDX-License-Identifier: Apache-2.0
"""The names that balenaOS gives to its partitions and to the files that it reads.

Source: meta-balena (balena-image, resin-mounts, balena-net-config, balena-proxy-config) and balena-supervisor
(src/lib/constants.ts). The lab has its own copies: its checks are independent of the code that migrates.
"""

from __future__ import annotations

BOOT_LABEL = "resin-boot"
ROOT_LABEL = "resin-rootA"
STATE_LABEL = "resin-state"
DATA_LABEL = "resin-data"

# In resin-boot.
EFI_LOADER = "EFI/BOOT/bootx64.efi"
"""What 64-bit UEFI firmware starts where no entry names something (UEFI specification 2.10, 3.5.1.1)."""
CONFIG_JSON = "config.json"
CONNECTIONS_FOLDER = "system-connections"
"""NetworkManager keyfiles, copied to /etc/NetworkManager on every boot."""
PROXY_FOLDER = "system-proxy"
REDSOCKS_CONF = f"{PROXY_FOLDER}/redsocks.conf"

# At the root of resin-data.
DATA_FOLDER = "resin-data"
"""Application data; the folder has the same name as its partition."""
SUPERVISOR_BACKUP = "backup.tgz"
"""The archive from which the supervisor restores volumes."""
