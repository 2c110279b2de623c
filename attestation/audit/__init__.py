# SPDX-License-Identifier: Apache-2.0
"""The questions an auditor asks, one module each: offline, from files and the auditor's own trust root."""
