# SPDX-License-Identifier: Apache-2.0
"""Verifiers of evidence, one per kind of TEE, behind one protocol; pure, offline, at a given time."""
