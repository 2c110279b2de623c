# SPDX-License-Identifier: Apache-2.0
"""The registry: judges evidence, grants and revokes leases, and logs every verdict before it can be used."""
