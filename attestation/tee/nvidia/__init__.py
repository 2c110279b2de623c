# SPDX-License-Identifier: Apache-2.0
"""NVIDIA confidential-computing GPUs and NVSwitches: measurement reports, their chains, manifests of golden values."""
