# SPDX-License-Identifier: Apache-2.0
"""TDX and SNP evidence through configfs-tsm: over the data asked for, or none at all."""

import errno
import json
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from attestation.bundle import Collateral
from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.tee.snp.product import Product
from enclave.attesters.device import DeviceFailed
from enclave.attesters.tsm import ATTEMPTS, MAX_CERTIFICATES, TSMQuoter, certificate_table
from tests.support import fake_amd
from tests.support.fake_tsm import ARK, ASK, CRL, VCEK, FakeTSM, binding, table
from tests.support.vectors import vectors
from tests.support.worlds import START

DATA = bytes(range(64))


def quote_over(data: bytes) -> bytes:
    return b"quote:" + data + b":end"


def quoter(kernel: FakeTSM, slept: list[float] | None = None) -> TSMQuoter:
    names = count(1)
    waits: list[float] = [] if slept is None else slept
    return TSMQuoter(files=kernel, entropy=lambda size: next(names).to_bytes(size, "big"), sleep=waits.append)


def test_a_report_is_over_the_data_asked_for() -> None:
    """The object is made for one asking, and gone afterwards."""
    kernel = FakeTSM(make_report=quote_over)
    report = quoter(kernel).report(DATA)
    assert (report.provider, report.outblob, report.auxblob) == ("tdx_guest", quote_over(DATA), b"")
    assert kernel.objects == {}
    assert len(kernel.made) == 1


def test_every_asking_has_an_object_of_its_own() -> None:
    """Two askings never share an object, so neither can answer for the other."""
    kernel = FakeTSM(make_report=quote_over)
    asking = quoter(kernel)
    asking.report(DATA)
    asking.report(DATA)
    assert len(set(kernel.made)) == 2


@pytest.mark.parametrize("provider", ["tdx_guest", "sev_guest"])
def test_the_provider_says_what_the_report_is(provider: str) -> None:
    """Kind and format of the evidence follow the provider the kernel names."""
    quoted = quoter(FakeTSM(make_report=quote_over, provider=provider)).quote(binding(), now=START)
    (evidence,) = quoted.evidence
    expected = {"tdx_guest": (TEEKind.TDX, "tdx-quote"), "sev_guest": (TEEKind.SNP, "snp-report")}
    assert (evidence.kind, evidence.format) == expected[provider]
    assert evidence.data == quote_over(binding().report_data())


def test_an_unknown_provider_makes_no_evidence() -> None:
    """A provider this version does not know is named, not guessed."""
    with pytest.raises(DeviceFailed, match="arm_cca_guest"):
        quoter(FakeTSM(make_report=quote_over, provider="arm_cca_guest")).quote(binding(), now=START)


@pytest.mark.parametrize("place", ["mkdir", "generation", "inblob", "outblob", "provider"])
@pytest.mark.parametrize("code", [errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT])
def test_a_busy_or_interrupted_platform_is_asked_again(place: str, code: int) -> None:
    """Errors that pass are waited out, longer each time, wherever they come."""
    kernel, slept = FakeTSM(make_report=quote_over, faults={place: [code, code]}), list[float]()
    assert quoter(kernel, slept).report(DATA).outblob == quote_over(DATA)
    assert slept == sorted(slept)
    assert len(slept) == 2
    assert kernel.objects == {}


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EINTR])
def test_a_platform_that_stays_busy_is_given_up(code: int) -> None:
    """After a few tries the error says what the kernel said."""
    kernel = FakeTSM(make_report=quote_over, faults={"outblob": [code] * ATTEMPTS})
    with pytest.raises(DeviceFailed, match=errno.errorcode[code]) as failed:
        quoter(kernel).report(DATA)
    assert failed.value.reason is Reason.PEER_UNAVAILABLE
    assert len(kernel.made) == ATTEMPTS


@pytest.mark.parametrize("code", [errno.ENXIO, errno.EACCES, errno.EIO, errno.EFBIG, errno.ENOENT])
def test_other_errors_are_final(code: int) -> None:
    """No provider, no permission, a failed platform: asked once, and said by name."""
    kernel = FakeTSM(make_report=quote_over, faults={"mkdir": [code]})
    with pytest.raises(DeviceFailed, match=errno.errorcode[code]):
        quoter(kernel).report(DATA)
    assert kernel.made == []


def test_a_write_the_kernel_dropped_is_noticed() -> None:
    """A binary attribute says nothing when it drops its bytes; the generation does."""
    earlier = FakeTSM(make_report=quote_over, dropped=ATTEMPTS)
    with pytest.raises(DeviceFailed):
        quoter(earlier).report(DATA)


def test_a_report_made_for_a_dropped_write_is_not_ours() -> None:
    """A kernel that dropped our write, and reports on what was there before, is asked again."""

    class Remembering(FakeTSM):
        @override
        def make(self, path: str) -> None:
            super().make(path)
            self.objects[path].inblob = DATA  # as if the object were not new

    kernel = Remembering(make_report=quote_over, dropped=1)
    assert quoter(kernel).report(DATA).outblob == quote_over(DATA)
    assert len(kernel.made) == 2


def test_a_report_of_another_writer_is_never_handed_on() -> None:
    """Somebody who writes between our write and our read makes us ask again; one who never stops makes us fail."""
    assert quoter(FakeTSM(make_report=quote_over, interfering=2)).report(DATA).outblob == quote_over(DATA)
    with pytest.raises(DeviceFailed, match="another writer"):
        quoter(FakeTSM(make_report=quote_over, interfering=ATTEMPTS)).report(DATA)


def test_a_changed_generation_alone_is_reason_enough() -> None:
    """A report that holds our data under a generation that is not ours is asked for again."""
    kernel = FakeTSM(make_report=lambda _: quote_over(DATA), interfering=1)
    quoter(kernel).report(DATA)
    assert len(kernel.made) == 2


@pytest.mark.parametrize("wrong", [b"", b"quote", quote_over(bytes(64)), DATA[:63]])
def test_a_report_without_the_data_is_never_handed_on(wrong: bytes) -> None:
    """Whatever the platform answers, evidence over other data does not leave."""
    with pytest.raises(DeviceFailed):
        quoter(FakeTSM(make_report=lambda _: wrong)).report(DATA)


def test_a_guest_below_level_zero_asks_for_the_level_it_has() -> None:
    """Where the kernel states a floor, as under an SVSM, that level is asked for; where it is 0, none is."""
    kernel = FakeTSM(make_report=quote_over, provider="sev_guest", floor=2)
    quoter(kernel).report(DATA)
    assert kernel.levels == [2]
    kernel = FakeTSM(make_report=quote_over, provider="sev_guest", floor=0)
    quoter(kernel).report(DATA)
    assert kernel.levels == []


def test_an_object_that_cannot_be_removed_does_no_harm() -> None:
    """The evidence counts; an object left behind is the kernel's affair."""
    kernel = FakeTSM(make_report=quote_over, faults={"rmdir": [errno.EBUSY]})
    assert quoter(kernel).report(DATA).outblob == quote_over(DATA)


def test_a_generation_that_is_no_number_is_refused() -> None:
    """A kernel that does not count as documented is not worked around."""

    class Broken(FakeTSM):
        @override
        def read(self, path: str, limit: int) -> bytes:
            return b"many\n" if path.endswith("generation") else super().read(path, limit)

    with pytest.raises(DeviceFailed, match="generation"):
        quoter(Broken(make_report=quote_over)).report(DATA)


def test_certificates_of_the_host_travel_with_an_snp_report() -> None:
    """The table's endorsements become collateral, by kind; a verifier can use them at once."""
    here = fake_amd.good()
    certificates = [item.data for item in here.collateral if item.kind == "amd-certificate"]
    auxblob = table(*zip([VCEK, ASK, ARK], certificates, strict=True))

    def report(data: bytes) -> bytes:
        return fake_amd.report(Product.GENOA, 3, {"report_data": data})

    kernel = FakeTSM(make_report=report, provider="sev_guest", auxblob=auxblob)
    quoted = quoter(kernel).quote(binding(), now=START)
    assert {item.data for item in quoted.collateral} == set(certificates)
    claims = here.verifier.verify(quoted.evidence[0], quoted.collateral, now=fake_amd.NOW)
    assert claims.slot == binding().report_data()


def test_a_tdx_guest_has_no_certificate_table() -> None:
    """What a TDX host puts there is not read as one."""
    kernel = FakeTSM(make_report=quote_over, auxblob=table((VCEK, b"\x30\x01")))
    assert quoter(kernel).quote(binding(), now=START).collateral == ()


def test_a_certificate_table_is_read_by_its_own_lengths() -> None:
    """Certificates and lists by GUID, in order; others, and what is no DER, are left out."""
    other = "11111111-2222-3333-4444-555555555555"
    data = table((VCEK, b"\x30vcek"), (other, b"\x30other"), (CRL, b"\x30crl"), (ASK, b"-----BEGIN"), (ARK, b""))
    found = [Collateral(kind="amd-certificate", data=b"\x30vcek"), Collateral(kind="amd-crl", data=b"\x30crl")]
    assert list(certificate_table(data)) == found
    assert list(certificate_table(table((VCEK, b"\x30vcek"), lie=1))) == []
    assert list(certificate_table(b"")) == list(certificate_table(bytes(4096))) == []


def test_a_certificate_table_is_bounded() -> None:
    """However many entries a host writes, a few are taken."""
    data = table(*[(VCEK, b"\x30%d" % place) for place in range(100)])
    assert len(list(certificate_table(data))) == MAX_CERTIFICATES


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_certificate_table_is_read(data: bytes) -> None:
    """No table of a host's making raises, and what is taken out of it was in it."""
    assert all(item.data in data for item in certificate_table(data))


@pytest.mark.parametrize("case", ["tdx", "snp"])
def test_recorded_reports_pass_through_unchanged(case: str) -> None:
    """Real quotes and reports, given back by a kernel that was asked for their data, leave byte for byte."""
    recorded: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
        "tdx": ("quote.bin", "tdx_guest", lambda raw: raw[0x238:0x278]),
        "snp": ("report.bin", "sev_guest", lambda raw: raw[0x50:0x90]),
    }
    name, provider, data_of = recorded[case]
    pattern = "v4_*" if case == "tdx" else "v*"
    paths = sorted(vectors(case).glob(pattern))
    assert paths
    for path in paths:
        raw = (path / name).read_bytes()
        if not any(data_of(raw)):
            continue  # a report over nothing but zeros says nothing about whose it is
        kernel = FakeTSM(make_report=lambda _, raw=raw: raw, provider=provider)  # type: ignore[misc]
        assert quoter(kernel).report(data_of(raw)).outblob == raw
        assert json.loads((path / "meta.json").read_text())
