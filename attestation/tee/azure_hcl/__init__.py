# SPDX-License-Identifier: Apache-2.0
"""Azure confidential VMs: a vTPM kept by Microsoft's paravisor (HCL), whose key a SEV-SNP or TDX report vouches for."""
