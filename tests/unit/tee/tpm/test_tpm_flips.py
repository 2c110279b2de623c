# SPDX-License-Identifier: Apache-2.0
"""Every single byte of valid TPM evidence and of its chain, flipped: nothing signed or bound is accepted.

Free in the evidence are the 32 bytes of the activation's proof alone: who did not seal the secret cannot check them.
The registry can, and refuses each flip (`test_tpm_registration`).
"""

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import AttestationError
from attestation.tee.tpm.credential import PROOF_BYTES
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT
from tests.support.fake_tpm import AK, NOW, an_ak, crl, private, quoted

FLIPS = (0x01, 0x80, 0xFF)
KEYS = {"ecdsa": an_ak, "rsassa": lambda: AK(key=private("ak-rsa"), scheme="rsassa")}


def flipped(data: bytes, at: int, by: int) -> bytes:
    return data[:at] + bytes((data[at] ^ by,)) + data[at + 1 :]


@pytest.mark.parametrize("name", list(KEYS))
def test_no_flipped_byte_of_the_evidence_is_accepted(name: str) -> None:
    """Statement, signature, public area, certificate, registers and the form around them."""
    world = quoted(KEYS[name]())
    verifier, data = world.verifier, world.evidence.data
    verifier.verify(world.evidence, world.collateral, now=NOW)
    free = set(range(len(data) - PROOF_BYTES, len(data)))
    assert data[-PROOF_BYTES:] == world.parts.activation
    accepted = set()
    for at in range(len(data)):
        for by in FLIPS:
            evidence = Evidence(kind=TEEKind.TPM, format=EVIDENCE_FORMAT, data=flipped(data, at, by))
            try:
                verifier.verify(evidence, world.collateral, now=NOW)
            except AttestationError:
                continue
            accepted.add(at)
    assert accepted == free


@pytest.mark.parametrize("place", [0, 1, 2], ids=["issuer", "root", "revocation list"])
def test_no_flipped_byte_of_the_chain_is_accepted(place: int) -> None:
    """Each issuer, the root that the policy names, and a revocation list."""
    world = quoted(an_ak()).adding(crl("issuer", revoked=[1]), crl("root"))
    verifier = world.verifier
    wanted = verifier.verify(world.evidence, world.collateral, now=NOW)
    item = world.collateral[place]
    for at in range(len(item.data)):
        for by in FLIPS:
            changed = Collateral(kind=item.kind, data=flipped(item.data, at, by))
            collateral = [changed if one is item else one for one in world.collateral]
            try:
                claims = verifier.verify(world.evidence, collateral, now=NOW)
            except AttestationError:
                continue
            # A list that no longer names this issuer is a list of somebody else's: the chain is then not checked.
            assert (place, claims.facts["ek_crl"], wanted.facts["ek_crl"]) == (2, "absent", "checked"), at
