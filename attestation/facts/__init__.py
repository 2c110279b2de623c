# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of facts: what evidence of each kind states, and what a policy must speak about (docs/spec.md, 3.11).

One table per kind. A verifier of the kind fills in every fact of its table; a policy that allows the kind has a
reference value for every fact and every register, or does not parse. So a new fact is never silently unchecked.
"""
