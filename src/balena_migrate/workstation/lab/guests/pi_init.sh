#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# /sbin/init of a virtual Pi's old system: a root shell on the console, and nothing that would cost minutes.
# Also /sbin/reboot and /sbin/poweroff, by name.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
case "$0" in
    *reboot) action="reboot -f" ;;
    *poweroff) action="poweroff -f" ;;
    *) action= ;;
esac
if [ -n "$action" ]; then
    echo "lab: $action"
    sync
    umount -a -r 2>/dev/null
    sync
    # shellcheck disable=SC2086  # a program and its option
    exec busybox $action
fi
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
mount -o remount,rw /
mount -a
dmesg -n 1
# lsblk knows file systems by udev's words alone.
/lib/systemd/systemd-udevd --daemon
udevadm trigger --subsystem-match=block --action=add
udevadm settle --timeout=60
hostname -F /etc/hostname
# Where the mini UART is enabled, the console's receiver belongs to the Bluetooth chip.
if grep -q okay /proc/device-tree/soc/serial@7e215040/status; then
    exec <>/dev/ttyS1 >&0 2>&0
fi
PS1='root@lab:# ' sh -i
exec poweroff
