# SPDX-License-Identifier: Apache-2.0
"""The evidence log: RFC 6962 trees under C2SP signed checkpoints, strict JSON entries, and the store they live in."""
