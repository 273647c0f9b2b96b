# SPDX-License-Identifier: Apache-2.0
"""File systems inside of an image, read without mounting them."""
