# SPDX-License-Identifier: Apache-2.0
"""gRPC edges of the attestation services: clients, pinned transport, status mapping."""
