# SPDX-License-Identifier: Apache-2.0
"""What only a workstation runs; no device has it."""
