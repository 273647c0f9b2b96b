# SPDX-License-Identifier: Apache-2.0
"""The kit: a folder with everything that the tool needs on a device except the kernel.

It holds CPython, our package, its libraries and a few programs, all from Debian's packages for one architecture but
zlib-ng, and is started through its own dynamic loader. `base` is what stage 2 needs and goes into the initramfs
unchanged; `more` is the rest of what stage 1 needs.

    balena-migrate, balena-stage1    launchers, plain sh
    base/stage2                      stage 2's launcher
    base/ld.so  base/lib  base/bin   loader, shared libraries, Python and programs
    base/busybox                     static: a shell to look around with
    base/architecture                Debian's name of the architecture
    base/SHA256SUMS                  the list of all other files, for sha256sum(1) and balena_migrate.core.kit_sums
    more/bin  more/lib               more programs and libraries
    more/python                      more modules; first on the path, so each package in it is complete
    more/ssl                         certificates of the public authorities
"""
