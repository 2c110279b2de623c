# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 quotes: parsed, verified under an attestation key, and tied to the manufacturer's endorsement key."""
