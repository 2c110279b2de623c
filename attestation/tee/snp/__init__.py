# SPDX-License-Identifier: Apache-2.0
"""AMD SEV-SNP: attestation reports and the chip keys that sign them."""
