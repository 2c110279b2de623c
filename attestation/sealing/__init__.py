# SPDX-License-Identifier: Apache-2.0
"""The sealed protocol, sans-IO: sessions, wraps, frames, dispatches and receipt halves (docs/spec.md, 4 to 9)."""
