# SPDX-License-Identifier: Apache-2.0
"""Between protobuf messages and values: conversions that check every field, and the registry's client."""
