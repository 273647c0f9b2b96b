# SPDX-License-Identifier: Apache-2.0
"""Virtual devices: what a migration is rehearsed on."""
