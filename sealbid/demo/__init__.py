# SPDX-License-Identifier: Apache-2.0
"""The demo: all of Sealbid on one machine, driven by a client nobody here wrote; exits 0 only if every promise held.

1 start       a registry, a gateway, four workers of four operators; one runs an image the policy refuses
2 refusal     the refused worker's verdict stands in the log, with its reason
3 requests    real files through tritonclient and a real model; each auctioned, sealed, receipted
4 failover    the winner is frozen with a request in its hands, then killed; another answers
5 audit       every receipt is verified by the audit command, in a process of its own, offline
6 money       what the tenant was charged is what the receipts add up to
"""

from sealbid.demo.story import run

__all__ = ["run"]
