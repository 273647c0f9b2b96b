# SPDX-License-Identifier: Apache-2.0
"""Network settings: read from wherever the old system keeps them, written as keyfiles for the new system."""
