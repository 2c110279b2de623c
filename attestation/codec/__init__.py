# SPDX-License-Identifier: Apache-2.0
"""Canonical bytes: the encodings, labels and signatures every signed or hashed structure is made of."""
