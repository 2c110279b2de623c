# SPDX-License-Identifier: Apache-2.0
"""Many callers, one engine: who runs when and together (planner), and doing it (loop, streams)."""
