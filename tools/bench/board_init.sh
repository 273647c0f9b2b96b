#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# /init of the bench's board: a root shell on the second serial port. All is in memory, so that the card is free.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
dmesg -n 1
while read -r module; do
    /bin/busybox insmod "$module"
done < /modules
until [ -b /dev/mmcblk0 ]; do
    sleep 0.2
done
exec <>/dev/ttyS1 >&0 2>&0
PS1='root@board:# ' sh -i
exec /bin/busybox poweroff -f
