# SPDX-License-Identifier: Apache-2.0
"""The ledger: who owes whom what, double entry, in integer nano-dollars."""
