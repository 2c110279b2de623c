# SPDX-License-Identifier: Apache-2.0
"""SIMULATED: a TEE made of a key in the clear, for development. It protects nothing; production policies refuse it."""
