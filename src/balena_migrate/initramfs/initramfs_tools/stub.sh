#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# scripts/local-bottom/balena-stage2-default: starts stage 2 once the old root file system is mounted, read-only.
# Where stage 2 comes back, the boot of the old system goes on.
PREREQ=""
if [ "$1" = prereqs ]; then
    echo "$PREREQ"
    exit 0
fi
/balena-migrate/base/stage2 "${rootmnt:-/root}"
exit 0
