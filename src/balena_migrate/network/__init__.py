# SPDX-License-Identifier: Apache-2.0
"""Network settings: read from where the old system keeps them, written as keyfiles for the new one."""
