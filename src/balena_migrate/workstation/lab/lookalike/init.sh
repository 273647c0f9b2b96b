#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The whole system of a look-alike image: grow the data partition as balenaOS does at its first boot, then say over
# the serial port what is on the disk, and switch the machine off. All names and texts in the report are base64:
# no file name can break it.

mark=balena-migrate-report
manager=/rootA/network-manager

fail() {
    echo "look-alike: $*"
    sync
    poweroff -f
}

start() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    # Kernel messages would end up in the middle of the report.
    echo 1 > /proc/sys/kernel/printk
    exec < /dev/null > "/dev/$(serial_port)" 2>&1
    echo "look-alike: started"
    while read -r module; do
        insmod "$module"
    done < /modules.list
}

# The kernel's console where that is a serial port. balenaOS starts its kernel with console=null; then it is the first
# serial port there is.
serial_port() {
    if grep -q '^tty[SA].*C' /proc/consoles; then
        echo console
        return
    fi
    for name in ttyAMA0 ttyAMA1 ttyS0; do
        [ -c "/dev/$name" ] && echo "$name" && return
    done
}

find_label() {
    for _ in $(seq 300); do
        device=$(findfs "LABEL=$1" 2>/dev/null) && echo "$device" && return
        sleep 0.2
    done
    fail "there is no partition $1"
}

sysfs() { cat "/sys/class/block/${1#/dev/}/$2"; }

grow() {
    end=$(($(sysfs "$data" start) + $(sysfs "$data" size)))
    free=$(($(sysfs "$disk" size) - end))
    [ "$free" -gt 20480 ] || return 0
    echo "look-alike: growing $data"
    number=$(sysfs "$data" partition)
    if sfdisk --dump "$disk" | grep -q '^label: gpt'; then
        sfdisk --quiet --relocate gpt-bak-std "$disk"
    elif [ "$number" -gt 4 ]; then
        echo ', +' | sfdisk --quiet -N 4 "$disk"
    fi
    echo ', +' | sfdisk --quiet -N "$number" "$disk"
    data=$(find_label resin-data)
    e2fsck -f -p "$data"
    resize2fs "$data"
}

# Whether the last sector is the backup header of this disk's GPT: it has the same GUID.
backup_at_end() {
    id=$(gpt_id 1)
    [ -n "$id" ] && [ "$id" = "$(gpt_id $(($(sysfs "$disk" size) - 1)))" ] && echo true || echo false
}

# The GUID in a GPT's header in this sector; nothing where there is none.
gpt_id() {
    dd if="$disk" bs=512 skip="$1" count=1 2>/dev/null > /sector
    grep -q 'EFI PART' /sector && dd if=/sector bs=1 skip=56 count=16 2>/dev/null | base64
}

# Empty where the firmware is no UEFI.
boot_entries() {
    mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null || return 0
    efibootmgr -v
}

mount_ext4() { mount -t ext4 -o ro,noload "$1" "$2" || fail "cannot mount $1"; }

text() { base64 | tr -d '\n'; }

# Each partition that has a file system, while none is mounted; the status is what e2fsck found.
describe_partitions() {
    comma=
    for label in resin-boot resin-rootA resin-rootB resin-state resin-data; do
        device=$(find_label "$label")
        status=0
        [ "$label" = resin-boot ] || e2fsck -f -n "$device" > /dev/null 2>&1 || status=$?
        printf '%s{"label":"%s","number":%d,"start_sector":%d,"sectors":%d,"check_status":%d}\n' "$comma" "$label" \
            "$(sysfs "$device" partition)" "$(sysfs "$device" start)" "$(sysfs "$device" size)" "$status"
        comma=,
    done
}

# Names, sums and the rest in the same order, each as one text: programs are slow to start on an emulated processor.
# What is mounted below the folder does not belong to it.
list_files() {
    cd "$1" || fail "cannot list $1"
    printf '{"names":"%s","sums":"%s","stats":"%s"}' \
        "$(find . -xdev -type f -print0 | text)" \
        "$(find . -xdev -type f -exec sha256sum {} + | grep -E '^[0-9a-f]{64}  \./' | cut -c 1-64 | tr '\n' ';')" \
        "$(find . -xdev -type f -exec stat -c '%s %a %u %g' {} + | tr '\n' ';')"
    cd /
}

# Every profile that NetworkManager loads, in its own words; nothing where the image does not bring it along.
# balenaOS, too, copies system-connections before it starts NetworkManager, which takes no file that others may read.
describe_profiles() {
    [ -d "$manager" ] || return 0
    for folder in dev proc sys; do
        mount --bind "/$folder" "$manager/$folder"
    done
    for folder in etc/NetworkManager/system-connections run tmp var; do
        mount -t tmpfs -o mode=755 none "$manager/$folder"
    done
    mkdir -p "$manager/var/run/dbus" "$manager/var/lib/NetworkManager"
    find /boot/system-connections -type f ! -name '*.ignore' \
        -exec cp {} "$manager/etc/NetworkManager/system-connections/" \;
    chmod 600 "$manager"/etc/NetworkManager/system-connections/*
    {
        chroot "$manager" /bin/dbus-daemon --config-file=/etc/dbus.conf --fork
        chroot "$manager" /bin/NetworkManager
        wait_for_network_manager
    } >&2
    export LC_ALL=C.UTF-8
    for uuid in $(chroot "$manager" /bin/nmcli -t -f UUID connection show); do
        describe_profile "$uuid"
    done
}

# An answer counts once it came twice in a row: under load, nmcli was seen to leave a secret out without a word.
describe_profile() {
    answer=
    for _ in $(seq 10); do
        last=$answer
        answer=$(chroot "$manager" /bin/nmcli -t -e no --show-secrets connection show "$1" | text)
        [ "$answer" = "$last" ] && break
    done
    printf '%s;' "$answer"
}

wait_for_network_manager() {
    for _ in $(seq 300); do
        [ "$(chroot "$manager" /bin/nmcli -t -f RUNNING general 2>&1)" = running ] && return
        sleep 0.2
    done
    echo "look-alike: NetworkManager does not start"
}

report() {
    cat << END
{"format":1,
"kernel":"$(uname -r | text)",
"command_line":"$(text < /proc/cmdline)",
"memory_bytes":$(($(awk '/^MemTotal:/ { print $2 }' /proc/meminfo) * 1024)),
"seconds":$(cut -d ' ' -f 1 /proc/uptime),
"data_sectors_before":$before,
"disk_sectors":$(sysfs "$disk" size),
"backup_at_end":$backup_at_end,
"boot_entries":"$(boot_entries | text)",
"table":$(sfdisk --json "$disk"),
"partitions":[$partitions],
"profiles":"$profiles",
"config_json":"$(text < /boot/config.json)",
"boot_files":$(list_files /boot),
"root_files":$(list_files /rootA),
"state_files":$(list_files /state),
"data_files":$(list_files /data)}
END
}

send() {
    gzip -c /report.json | base64 > /report.txt
    echo
    echo "$mark begin $(wc -l < /report.txt) $(sha256sum < /report.json | cut -c 1-64)"
    awk -v mark="$mark" '{ print mark, "line", NR, $0 }' /report.txt
    echo "$mark end"
}

start
data=$(find_label resin-data)
disk=/dev/$(basename "$(readlink -f "/sys/class/block/${data#/dev/}/..")")
before=$(sysfs "$data" size)
backup_at_end=$(backup_at_end)
grow
partitions=$(describe_partitions)
mkdir -p /boot /rootA /state /data
mount -t vfat -o ro "$(find_label resin-boot)" /boot || fail "cannot mount resin-boot"
mount_ext4 "$(find_label resin-rootA)" /rootA
mount_ext4 "$(find_label resin-state)" /state
mount_ext4 "$data" /data
profiles=$(describe_profiles)
report > /report.json
send
umount /boot /state /data
sync
sleep 1
poweroff -f
