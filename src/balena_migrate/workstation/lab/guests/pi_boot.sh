#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The initramfs of a virtual Pi's old system: Debian's kernels have the SD card's driver and ext4 as modules.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do
    /bin/busybox insmod "$module"
done < /modules
until [ -b /dev/mmcblk0p2 ]; do
    /bin/busybox sleep 0.2
done
# By the name that a kernel without an initramfs gives its root (the kernel's init/do_mounts.c); no file has it later.
IFS=: read -r major minor < /sys/class/block/mmcblk0p2/dev
/bin/busybox mknod /dev/root b "$major" "$minor"
/bin/busybox mount -t ext4 -o ro /dev/root /root || /bin/busybox poweroff -f
/bin/busybox rm /dev/root
/bin/busybox umount /proc /sys /dev
exec /bin/busybox switch_root /root /sbin/init
