# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs a model inside the enclave. `interface` is the seam; every other module here is one engine."""
