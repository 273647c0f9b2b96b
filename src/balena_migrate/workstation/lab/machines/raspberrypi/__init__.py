# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pis: on every boot, a stand-in for the firmware reads the card, and QEMU starts what it selects."""
