# SPDX-License-Identifier: Apache-2.0
"""Event logs: what was measured into run-time registers, replayed so that the registers vouch for the log."""
