# SPDX-License-Identifier: Apache-2.0
"""What is carried over from the old system to the new one, besides its network."""
