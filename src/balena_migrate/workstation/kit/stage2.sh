#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts stage 2 with the kit's base part alone, called by its own path: from inside the initramfs.
base=$(cd "${0%/*}/" && pwd -P) || exit

unset LD_PRELOAD
LC_ALL=C.UTF-8
export LC_ALL

exec "$base/ld.so" --inhibit-cache --argv0 "$base/bin/python3" --library-path "$base/lib" \
    "$base/bin/python3" -I -S -X utf8 -m balena_migrate.stage2.main "$@"
