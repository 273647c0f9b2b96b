# SPDX-License-Identifier: Apache-2.0
"""Power cuts: from one recorded rehearsal, what boots from the disk whatever moment the power fails at."""
