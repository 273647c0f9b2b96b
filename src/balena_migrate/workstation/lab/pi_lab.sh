# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What a virtual Pi's old system does: at its first start it migrates itself, at any later one it switches itself off.
if [ -e /root/started ]; then
    echo "lab: started before"
    exit
fi
: > /root/started
sync
# Behind a pipe, so that progress comes as lines and not as a bar.
{
    /opt/balena-migrate/balena-migrate run 2>&1
    echo "lab: stage 1 ended with status $?"
} | cat
reboot
