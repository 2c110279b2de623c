# SPDX-License-Identifier: Apache-2.0
"""All benchmarks in one run: `make bench`. Takes the machine for itself; every figure stands beside its baseline."""

import sys

from benchmarks import auction, gateway, journal, tlog
from benchmarks.attestation import table

for title, benchmark in (("Auction", auction), ("Journal", journal), ("Log", tlog), ("Gateway", gateway)):
    sys.stdout.write(f"\n{title}\n")
    benchmark.main()
sys.stdout.write("\nAttestation\n")
table.main([])
