# SPDX-License-Identifier: Apache-2.0
"""A PC kernel that contains its own initramfs, as balenaOS's kernels do.

balenaOS links the initramfs into the kernel, so its GRUB configurations have no `initrd` line. Debian's kernel
cannot be relinked here; instead the initramfs is appended to the kernel in the same bzImage, with a few
instructions that move it to a free place in memory and announce it. The boot protocol's field `code32_start`
exists for such hooks (Linux, Documentation/x86/boot.rst, "Advanced boot loader hooks").
"""

from __future__ import annotations

import struct

from balena_migrate.core.errors import LabError

_SETUP_SECTORS, _SYSSIZE, _MAGIC = 0x1F1, 0x1F4, 0x202
_CODE32_START, _INIT_SIZE = 0x214, 0x260
_LOAD_ADDRESS = 0x100000
_HOOK_BYTES = 67
_DESTINATION = 128 << 20
"""Address of the initramfs: above what a kernel needs to unpack itself, and within 256 MiB of RAM."""


def bundle_kernel(kernel: bytes, initramfs: bytes) -> bytes:
    """A bzImage that starts `kernel` with `initramfs` if booted by the 16- or 32-bit protocol (not by its EFI stub).

    GRUB 2.06 uses the 32-bit one on UEFI, too, where Secure Boot is off.

    Raises LabError if `kernel` is not a relocatable bzImage, or if both together exceed the memory that a boot loader
    reserves for it.
    """
    if kernel[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise LabError("the kernel is not a bzImage")
    setup_bytes = (kernel[_SETUP_SECTORS] + 1) * 512
    body = kernel[setup_bytes:]
    hook = _hook(body_bytes=len(body), initramfs_bytes=len(initramfs))
    payload = body + hook + initramfs + bytes(16)
    payload += bytes(-len(payload) % 16)
    header = bytearray(kernel[:setup_bytes])
    if len(payload) > struct.unpack_from("<I", header, _INIT_SIZE)[0]:
        raise LabError("kernel and initramfs together are too large")
    struct.pack_into("<I", header, _SYSSIZE, len(payload) // 16)
    struct.pack_into("<I", header, _CODE32_START, _LOAD_ADDRESS + len(body))
    return bytes(header) + payload


def _hook(*, body_bytes: int, initramfs_bytes: int) -> bytes:
    """The instructions between kernel and initramfs.

    Entered as the kernel itself would be: 32 bits, flat segments, esi = boot parameters, no stack guaranteed (the
    scratch field of the boot parameters serves as one, as at the kernel's own entry).
    """
    word = struct.Struct("<i").pack
    here = 1 + 6 + 5  # the address that the call leaves in ebx, seen from the hook's start
    return b"".join(
        (
            b"\xfc",  # cld
            b"\x8d\xa6" + word(0x1E8),  # lea esp, [esi+0x1e8]
            b"\xe8" + word(0),  # call here
            b"\x5b",  # here: pop ebx
            b"\x89\xf2",  # mov edx, esi
            b"\xc7\x82" + word(0x218) + word(_DESTINATION),  # mov [edx+ramdisk_image], destination
            b"\xc7\x82" + word(0x21C) + word(initramfs_bytes),  # mov [edx+ramdisk_size], size
            b"\x8d\xb3" + word(_HOOK_BYTES - here),  # lea esi, [ebx+initramfs-here]
            b"\xbf" + word(_DESTINATION),  # mov edi, destination
            b"\xb9" + word(initramfs_bytes // 4 + 1),  # mov ecx, words
            b"\xf3\xa5",  # rep movsd
            b"\x89\xd6",  # mov esi, edx
            b"\x31\xff",  # xor edi, edi
            b"\x8d\x83" + word(-body_bytes - here),  # lea eax, [ebx+kernel-here]
            b"\x31\xdb",  # xor ebx, ebx
            b"\xff\xe0",  # jmp eax
        )
    )
