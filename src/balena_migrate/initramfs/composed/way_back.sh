#!/balena-migrate/base/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Puts back what the firmware reads at each start, where it would start stage 2 again and again: for a start in which
# stage 2 did not come to that, which is its own first act. Init has loaded the kernel modules; busybox does the rest.
# `device`, `name` and `content` beside it are stage 1's: the boot partition, and the file there as it was.
BUSYBOX=/balena-migrate/base/busybox
WAIT_S=60
folder=${0%/*}
name=$($BUSYBOX cat "$folder/name")

left=$WAIT_S
until device=$($BUSYBOX findfs "$($BUSYBOX cat "$folder/device")"); do
    [ "$left" -gt 0 ] || exit 1
    left=$((left - 1))
    $BUSYBOX sleep 1
done

$BUSYBOX mkdir -p "$folder/mounted"
$BUSYBOX mount -t vfat "$device" "$folder/mounted" || exit
file="$folder/mounted/$name"
new="$folder/mounted/.$name.balena-migrate"
if ! $BUSYBOX cmp -s "$folder/content" "$file"; then
    # The new file is on the medium before it takes the old one's place.
    $BUSYBOX cp "$folder/content" "$new" && $BUSYBOX sync && $BUSYBOX mv -f "$new" "$file" &&
        echo "balena-migrate: $name is as it was before stage 1"
fi
$BUSYBOX umount "$folder/mounted"
