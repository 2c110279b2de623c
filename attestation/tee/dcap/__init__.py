# SPDX-License-Identifier: Apache-2.0
"""Intel's data centre attestation: TDX and SGX quotes, judged by Intel's collateral at a given time."""
