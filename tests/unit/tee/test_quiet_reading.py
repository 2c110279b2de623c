# SPDX-License-Identifier: Apache-2.0
"""Certificates are read without the library's warnings, by many threads, and the process's filters stay."""

import warnings
from concurrent.futures import ThreadPoolExecutor

from attestation.tee.certificates import der_of, quietly, read_certificate
from attestation.tee.snp.product import Product
from tests.support import fake_amd


def test_threads_that_read_at_once_leave_the_filters_as_they_were() -> None:
    """A VCEK, of whose serial number the library warns, is read 400 times by eight threads: no warning, no trace."""
    vcek = fake_amd.leaf(Product.GENOA)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: der_of(read_certificate(vcek, "vcek")), range(400)))
    assert found == [vcek] * 400
    assert list(warnings.filters) == before


def test_reading_inside_reading_does_not_wait_for_itself() -> None:
    """An OCSP response is read quietly, and the certificate in it too."""
    with quietly(), quietly():
        assert read_certificate(fake_amd.leaf(Product.GENOA), "vcek").serial_number == 0
