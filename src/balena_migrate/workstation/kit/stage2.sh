#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts stage 2 with the kit's base part alone, called by its own path: from inside the initramfs.
base=$(cd "${0%/*}/" && pwd -P) || exit
line=${base%/*}/line # core.paths: STAGE2_LINE

unset LD_PRELOAD
LC_ALL=C.UTF-8
export LC_ALL

tries=3
killed=
while :; do
    "$base/ld.so" --inhibit-cache --argv0 "$base/bin/python3" --library-path "$base/lib" \
        "$base/bin/python3" -I -S -X utf8 -m balena_migrate.stage2.main "$@"
    status=$?
    if [ ! -e "$line" ]; then
        # A process that was killed is followed by one that takes back what it did, and tells the old system.
        [ "$status" -gt 128 ] || exit "$status"
        [ -z "$killed" ] || exit "$status"
        killed=yes
        echo "balena-migrate: stage 2 was killed; the way back to the old system begins"
        continue
    fi
    # Behind the line there is no old system to go back to, and all that is needed is still in memory.
    echo "balena-migrate: stage 2 did not end as it should; it goes on with what is in memory"
    read -r far _ <"$line"
    if [ "$far" != flash ]; then
        # The disk starts the new system, if need be without the rest.
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || "$base/busybox" reboot -f
    fi
    "$base/busybox" sleep 5
done
