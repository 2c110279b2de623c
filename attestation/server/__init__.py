# SPDX-License-Identifier: Apache-2.0
"""The registry process: gRPC services over the registry and its log, and what starts them."""
