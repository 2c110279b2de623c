# SPDX-License-Identifier: Apache-2.0
"""Dispatch: links and sessions with attested workers, and one sealed attempt of one request on them."""
