# SPDX-License-Identifier: Apache-2.0
"""Reputation: what past outcomes say about a worker, as a handicap on its ask."""
