# SPDX-License-Identifier: Apache-2.0
"""Attesters: what makes evidence inside a worker, one per kind of TEE, behind one protocol."""
