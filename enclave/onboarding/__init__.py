# SPDX-License-Identifier: Apache-2.0
"""How a worker enters the market: it registers for a lease, learns its gateways, places its offers."""
