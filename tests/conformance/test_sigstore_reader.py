# SPDX-License-Identifier: Apache-2.0
"""npm's @sigstore/verify accepts our checkpoints with proofs, as signed, and nothing that was altered."""

import dataclasses

from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.note import LineSigner
from attestation.tlog.proof import InclusionProof
from tests.support.cosigning import AT, Dated, log_line_signer, witness
from tests.support.log import ORIGIN, log_signer
from tests.support.sigstore import Case, read_by_sigstore

SIZES = [1, 2, 3, 7, 8, 255, 256, 257, 1000]


def cases(*, cosigned: bool = False) -> list[Case]:
    """An entry at each edge of trees of each size, out of the proof file that we hand out."""
    made = []
    for size in SIZES:
        entries = [b'{"n":%d}' % number for number in range(size)]
        leaves = [merkle.leaf_hash(entry) for entry in entries]
        head = Checkpoint(origin=ORIGIN, size=size, root=merkle.root_of(leaves))
        more: list[LineSigner] = (
            [log_line_signer(), Dated(witness(1), AT), Dated(witness(2, ml_dsa=True), AT)] if cosigned else []
        )
        note = sign_checkpoint(head, log_signer(), *more)
        for index in sorted({0, size // 2, size - 1}):
            path = tuple(merkle.path_of(leaves, index))
            proof = InclusionProof.decode(InclusionProof(index=index, path=path, checkpoint=note).encode())
            case = Case(
                note=proof.checkpoint, signer=log_signer(), index=proof.index, path=proof.path, leaf=entries[index]
            )
            made.append(case)
    return made


def test_accepts_ours() -> None:
    """Checkpoint and proof of every edge of every tree are accepted, and read as what they are."""
    asked = cases()
    sizes = [case.note.split(b"\n")[1].decode() for case in asked]
    assert read_by_sigstore(asked) == [{"origin": ORIGIN, "size": size} for size in sizes]


def test_accepts_ours_with_further_lines() -> None:
    """The log's ML-DSA line and witnesses' lines below do not disturb a reader that does not know them."""
    assert all("refused" not in answer for answer in read_by_sigstore(cases(cosigned=True)))


def test_refuses_altered_ones() -> None:
    """Another entry, index, path, size, root or key is refused."""
    whole = cases()[-2]
    note = whole.note
    altered = [
        dataclasses.replace(whole, leaf=b"another"),
        dataclasses.replace(whole, index=whole.index + 1),
        dataclasses.replace(whole, path=whole.path[:-1]),
        dataclasses.replace(whole, path=[*whole.path, bytes(32)]),
        dataclasses.replace(whole, note=note.replace(b"\n1000\n", b"\n1001\n")),
        dataclasses.replace(
            whole, note=sign_checkpoint(Checkpoint(origin=ORIGIN, size=1000, root=bytes(32)), log_signer())
        ),
        dataclasses.replace(whole, note=note[:-10] + b"A" + note[-9:]),
        dataclasses.replace(whole, signer=log_signer(seed=9)),
        dataclasses.replace(whole, signer=log_signer("log.example/other")),
    ]
    assert len({case.encode() for case in [whole, *altered]}) == len(altered) + 1
    answers = read_by_sigstore([whole, *altered])
    assert "refused" not in answers[0]
    assert all("refused" in answer for answer in answers[1:])
