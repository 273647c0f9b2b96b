#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
{ sum=@SUM@
# balena-migrate @VERSION@ for @ARCHITECTURE@ in one file: sh FILE ARGUMENT...
# Under a name that starts with balena-stage1 it is balena-stage1.
# The kit is unpacked once, into a folder that only root may enter; without root, into one that is removed at the end.
# These lines are one group: the shell runs none of it unless it is complete. Line 2 has the SHA-256 of all that
# follows.
version=@VERSION@
architecture=@ARCHITECTURE@
machines="@MACHINES@"
unpacked_mib=@MIB@
payload_line=@LINE@
damaged="this file is damaged or incomplete: copy it again (its SHA-256 does not match)"
programs="gzip id mkdir mv rm sha256sum sync tail tar uname"

# The status is balena-migrate's own for what failed and left nothing changed.
fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 3
}

# From a pipe, $0 is the shell.
check_itself() {
    first=
    second=
    [ ! -f "$0" ] || { read -r first && read -r second; } <"$0"
    [ "$second" = "{ sum=$sum" ] || fail "cannot read the kit from a pipe: save it to a file and run sh FILE ARGUMENT..."
    [ "$first" = "#!/bin/sh" ] || fail "$damaged"
}

check_programs() {
    missing=
    for program in "$@"; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    [ -z "$missing" ] || fail "this device lacks what unpacking needs:$missing"
}

# The kernel decides: a 64-bit one runs the 64-bit kit, which brings its own libraries, under any user space.
check_machine() {
    machine=$(uname -m)
    fitting=
    for pair in $machines; do
        [ "${pair%%=*}" != "$machine" ] || fitting=${pair#*=}
    done
    case $fitting in
    "$architecture") ;;
    "") fail "this kit is for $architecture; there is none for the machine $machine" ;;
    *) fail "this kit is for $architecture; this machine ($machine) takes the one for $fitting" ;;
    esac
}

check_content() {
    actual=$(tail -n +3 "$0" | sha256sum)
    [ "${actual%% *}" = "$sum" ] || fail "$damaged"
}

# Afterwards the folder $kit has the kit, complete and on the disk. A subshell, to keep the umask from the tool.
unpack() (
    umask 077
    parts=$home/.unpacking
    new=$parts.$$
    for left in "$parts".*; do
        [ -d "/proc/${left##*.}" ] || rm -rf "$left"
    done
    trap 'rm -rf "$new"' EXIT
    trap 'exit 3' HUP INT TERM
    mkdir -p "$new" || fail "cannot create a folder in $home"
    tail -n "+$payload_line" "$0" | gzip -dc | tar -xf - -C "$new" ||
        fail "cannot unpack into $home, where the kit takes $unpacked_mib MiB"
    "$new/$name/base/busybox" true ||
        fail "cannot start programs in $home (is it mounted noexec?): unpack $name.tar.gz elsewhere"
    sync
    # If another process was faster, mv fails or puts ours into its folder.
    mv "$new" "$kit" 2>/dev/null || [ -d "$kit" ] || fail "cannot create $kit"
    rm -rf "${kit:?}/${new##*/}"
)

# In a damaged line a redirection may have become a pipe, into this file: it must not start itself without end.
[ -z "$BALENA_MIGRATE_UNPACKING" ] || fail "$damaged"
BALENA_MIGRATE_UNPACKING=1
export BALENA_MIGRATE_UNPACKING

# `fail` itself may be damaged, so each check has to succeed.
# shellcheck disable=SC2086  # a list of words
check_itself && check_programs $programs && check_machine || exit 3

name=balena-migrate-$architecture
case ${0##*/} in
balena-stage1*) launcher=balena-stage1 ;;
*) launcher=balena-migrate ;;
esac

if [ "$(id -u)" = 0 ]; then
    home=@STATE_DIR@
    kit=$home/kit-$version-$architecture-${sum%"${sum#????????????????}"}
    if [ ! -d "$kit" ]; then
        check_content || exit 3
        printf '%s: unpacking into %s\n' "${0##*/}" "$kit" >&2
        unpack || exit 3
    fi
    unset BALENA_MIGRATE_UNPACKING
    exec "$kit/$name/$launcher" "$@"
fi

check_programs mktemp && check_content || exit 3
home=$(mktemp -d) || fail "cannot create a temporary folder"
trap 'rm -rf "$home"' EXIT
trap 'exit 3' HUP INT TERM
kit=$home/kit
unpack || exit 3
unset BALENA_MIGRATE_UNPACKING
"$kit/$name/$launcher" "$@"
exit
}
