# SPDX-License-Identifier: Apache-2.0
"""The verbs of the `sealbid` command, one module per noun; each imports its application only when it runs."""
