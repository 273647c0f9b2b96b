# SPDX-License-Identifier: Apache-2.0
"""File systems within an image, read without mounting them."""
