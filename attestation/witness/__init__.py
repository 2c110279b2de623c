# SPDX-License-Identifier: Apache-2.0
"""A witness of transparency logs (C2SP tlog-witness): cosigns heads that continue the last one it cosigned."""
