# SPDX-License-Identifier: Apache-2.0
"""Appraisal: is what genuine evidence says acceptable under a policy? Policy is data, findings are values."""
