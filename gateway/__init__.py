# SPDX-License-Identifier: Apache-2.0
"""The gateway: admits a request, auctions it among attested workers, seals it to the winner, and accounts for it.

`flow.py` is the life of a request; read it first.
"""
