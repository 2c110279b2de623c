# SPDX-License-Identifier: Apache-2.0
"""Audit bundles: a whole log with its evidence in one file, written the same by everyone and read trusting nobody."""
