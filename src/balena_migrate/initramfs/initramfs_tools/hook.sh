#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# hooks/balena-init: puts stage 2 into the initramfs while mkinitramfs makes it.
# $CONFDIR is the configuration folder that stage 1 made, $DESTDIR the initramfs.
PREREQ=""
if [ "$1" = prereqs ]; then
    echo "$PREREQ"
    exit 0
fi
set -e
# shellcheck source=/dev/null  # the device has it
. /usr/share/initramfs-tools/hook-functions

# The old system's file systems, those of the new one, and what FAT needs to show file names.
# One by one: in Ubuntu 14.04, manual_add_modules takes one name and ignores all others.
for module in ext4 vfat nls_cp437 nls_ascii nls_iso8859_1 $(cat "$CONFDIR/balena-migrate/modules"); do
    manual_add_modules "$module"
done

mkdir -p "$DESTDIR/balena-migrate" "$DESTDIR/etc"
cp -a "$CONFDIR/balena-migrate/base" "$DESTDIR/balena-migrate/base"
cp "$CONFDIR/balena-migrate/stage2.conf" "$DESTDIR/etc/balena-migrate-stage2.conf"
