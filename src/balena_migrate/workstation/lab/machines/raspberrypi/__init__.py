# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pis: at every start the firmware stand-in reads the card, and QEMU starts what it names."""
