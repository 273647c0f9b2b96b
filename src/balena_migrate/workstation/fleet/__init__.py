# SPDX-License-Identifier: Apache-2.0
"""balenaCloud and openBalena, asked from a workstation."""
