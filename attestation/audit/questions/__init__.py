# SPDX-License-Identifier: Apache-2.0
"""What auditors ask of a whole log, one module a question: a verified log goes in, a `Reply` comes out. Pure."""
