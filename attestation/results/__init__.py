# SPDX-License-Identifier: Apache-2.0
"""Results for others: attestation results (EAR) and wrapped evidence (CMW) in the IETF's formats."""
