# SPDX-License-Identifier: Apache-2.0
"""What both stages share: it imports the standard library only, and no other part of this package."""
