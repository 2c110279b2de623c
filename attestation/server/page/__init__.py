# SPDX-License-Identifier: Apache-2.0
"""The audit page: pure views from values to HTML, one function that escapes, a script that verifies in the browser."""
