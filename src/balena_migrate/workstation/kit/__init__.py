# SPDX-License-Identifier: Apache-2.0
"""The kit: a folder with everything the tool needs on a device but the kernel.

It holds CPython, our package, its libraries and a few programs, all out of Debian's packages for one architecture, and
is started through its own dynamic loader. `base` is what stage 2 needs and goes into the initramfs as it is; `more` is
the rest of what stage 1 needs.

    balena-migrate, balena-stage1    launchers, plain sh
    base/stage2                      stage 2's launcher
    base/ld.so  base/lib  base/bin   loader, shared libraries, Python and programs
    base/busybox                     static: a shell to look around with
    base/architecture                Debian's name of it
    more/bin  more/lib               more programs and libraries
    more/python                      more modules; first on the path, so what it has, it has completely
    more/ssl                         certificates of the public authorities
"""
