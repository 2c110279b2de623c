# SPDX-License-Identifier: Apache-2.0
"""Whatever is submitted in whatever order, all that one witness cosigns is one history."""

from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from attestation.tlog.add_checkpoint import AddCheckpoint
from attestation.tlog.checkpoint import Checkpoint
from attestation.witness.verdict import Outcome
from tests.support.witnessing import Hands, Leaves, MemoryWitnessStore, new_witness

SIZES = st.integers(0, 12)
WORLDS = ("one", "two", "three")


class Branching(Leaves):
    """A history that leaves the common one after so many leaves."""

    common = 4

    @override
    def hashes(self, size: int) -> list[bytes]:
        shared = Leaves(world="all").hashes(min(size, self.common))
        return shared + Leaves(world=self.world).hashes(size)[self.common :]


MOVE = st.tuples(st.sampled_from(WORLDS), SIZES, SIZES, st.sampled_from(["proof", "no proof", "other's proof"]))


@settings(deadline=None)
@given(st.lists(MOVE, max_size=25), st.booleans())
def test_what_a_witness_cosigned_is_one_history(moves: list[tuple[str, int, int, str]], restarts: bool) -> None:
    """Three histories with a common start, right and wrong old sizes and proofs, with restarts in between."""
    store, clock = MemoryWitnessStore(), Hands()
    witness = new_witness(store, clock=clock)
    cosigned: list[tuple[str, Checkpoint]] = []
    for world, old, size, proving in moves:
        log = Branching(world=world)
        proofs = {
            "proof": log.proof(old, size),
            "no proof": (),
            "other's proof": Branching(world="two").proof(old, size),
        }
        request = AddCheckpoint(old=old, proof=proofs[proving], note=log.note(size)).encode()
        clock.forward(60)
        if witness.add_checkpoint(request).outcome is Outcome.COSIGNED:
            cosigned.append((world, log.head(size)))
        if restarts:
            witness = new_witness(store, clock=clock)
    sizes = [head.size for _, head in cosigned]
    assert sizes == sorted(sizes), "no head is smaller than one before it"
    final = cosigned[-1][0] if cosigned else WORLDS[0]
    for _, head in cosigned:
        assert head.root == Branching(world=final).head(head.size).root
