# SPDX-License-Identifier: Apache-2.0
"""Models: where a worker's model bytes come from, and the small ones that are made here."""
