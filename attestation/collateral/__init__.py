# SPDX-License-Identifier: Apache-2.0
"""Collateral: what verification needs besides evidence, from the vendors' services, kept on disk within its validity.

Nothing here is trusted: whatever a service answers is collateral a verifier judges. What is checked is that an answer
is bounded, parses, and is about what was asked, so that a broken mirror is found here and not in a verdict.
"""
