# SPDX-License-Identifier: Apache-2.0
"""Attestation: verify evidence, appraise it, seal to what passed, and keep the log of every verdict.

The core (`codec`, `claims`, `bundle`, `binding`, `tee`, `appraisal`, `sealing`, `tlog` values, `verify`) is
pure: bytes, times and readers in; values or one named error out. Edges live in `server` and `cli`.
"""
