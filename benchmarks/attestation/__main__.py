# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.attestation`: the table of every kind; see `benchmarks.attestation.table`."""

import sys

from benchmarks.attestation.table import main

sys.exit(main())
