#!/balena-migrate/base/busybox sh
# SPDX-License-Identifier: Apache-2.0
# /init of the composed initramfs: starts stage 2. Where that ends with the status below, the old system is mounted at
# /root and goes on; whatever else happens, the machine reboots, and the boot loader starts the old system.
GO_ON=10
BUSYBOX=/balena-migrate/base/busybox
WAY_BACK=/balena-migrate/way-back/put-back

$BUSYBOX mount -t devtmpfs devtmpfs /dev
$BUSYBOX mount -t proc proc /proc
$BUSYBOX mount -t sysfs sysfs /sys
$BUSYBOX mount -t tmpfs -o mode=0755 tmpfs /run
exec </dev/console >/dev/console 2>&1

# As initramfs-tools does it: with `debug` all output goes to a file, which the old system still has.
case " $($BUSYBOX cat /proc/cmdline) " in
*" debug "*)
    $BUSYBOX mkdir -p /run/initramfs
    exec >/run/initramfs/initramfs.debug 2>&1
    set -x
    ;;
esac

# Through a shell of ours: there is no /bin/sh here, which the script names.
$BUSYBOX sh /balena-migrate/base/stage2
if [ $? = $GO_ON ]; then
    for folder in dev proc sys run; do
        $BUSYBOX mount -o move /$folder /root/$folder
    done
    # The kernel's own first choice; a command line that asks for another ends in a reboot.
    exec $BUSYBOX switch_root -c /dev/console /root /sbin/init
fi
echo "balena-migrate: stage 2 did not end as it should; rebooting into the old system"
# What stage 2 has loaded already fails here. Without the driver of its watchdog, a Raspberry Pi does not restart.
while read -r module parameters; do
    # shellcheck disable=SC2086  # a word for each parameter
    $BUSYBOX insmod "$module" $parameters 2>/dev/null
done </etc/balena-migrate-modules
# It is there where the boot loader does not forget by itself what it is to start.
[ ! -e $WAY_BACK ] || $BUSYBOX sh $WAY_BACK
$BUSYBOX sync
$BUSYBOX reboot -f
