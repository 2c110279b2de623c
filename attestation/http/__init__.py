# SPDX-License-Identifier: Apache-2.0
"""HTTP edge of the processes that serve logs: one bounded listener, without a framework."""
