# SPDX-License-Identifier: Apache-2.0
"""Receipts: what every request leaves behind, made durable off the request path."""
