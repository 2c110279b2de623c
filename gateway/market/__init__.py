# SPDX-License-Identifier: Apache-2.0
"""The market: standing signed offers, a committed order book, and a second-score auction anyone can replay."""
