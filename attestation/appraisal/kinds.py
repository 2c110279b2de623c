# SPDX-License-Identifier: Apache-2.0
"""What a policy says of each kind of TEE it allows: registers, facts, how devices stand together (docs/spec.md, 3.11).

    [workload.<kind>]  measured_by = register, registers.<name> = R   exactly the registers of the kind's vocabulary
    [facts.<kind>]     <fact> = R                                     the facts of the kind's vocabulary; a device
                                                                      has its registers here, as it runs no workload
    [topology]         gpus, switches = R (count), alike = R (bool), linked = R (see `appraisal.topology`)

A reference value must be of its fact's own type: `smt = { exactly = "false" }` would else never match and look like
a refusal of the machine.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from attestation.appraisal.reference import AtLeast, AtMost, ReferenceValue, scalars
from attestation.appraisal.tables import Table, invalid
from attestation.claims import DEVICE_KINDS, Scalar, TEEKind
from attestation.facts.vocabularies import VOCABULARIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How the worker's code is measured on one kind of TEE, and what each register must hold."""

    measured_by: str
    registers: Mapping[str, ReferenceValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How many devices a machine must show and how they stand to each other."""

    gpus: ReferenceValue
    switches: ReferenceValue
    alike: ReferenceValue
    linked: ReferenceValue

    def references(self) -> dict[str, ReferenceValue]:
        """Its reference values by key."""
        return {"gpus": self.gpus, "switches": self.switches, "alike": self.alike, "linked": self.linked}


def read_workloads(tables: Table, kinds: Collection[TEEKind]) -> dict[TEEKind, Workload]:
    """The workloads of exactly these kinds. Raises `MalformedEvidence` (POLICY_INVALID)."""
    found = {}
    for kind in _exactly(tables, "workload", kinds):
        table = tables.table(kind.value)
        registers = table.table("registers")
        names = VOCABULARIES[kind].registers
        values = {name: _typed(registers, name, str, f"workload.{kind.value}.registers.{name}") for name in names}
        measured_by = table.text("measured_by")
        if measured_by not in values:
            raise invalid(f"workload.{kind.value}.measured_by", measured_by, "one of " + ", ".join(names))
        registers.done()
        table.done()
        found[kind] = Workload(measured_by=measured_by, registers=values)
    return found


def read_facts(tables: Table, kinds: Collection[TEEKind]) -> dict[TEEKind, dict[str, ReferenceValue]]:
    """What is wanted of every fact of these kinds; a kind without facts has no table. Raises `MalformedEvidence`."""
    found = {}
    for kind in _exactly(tables, "facts", [kind for kind in kinds if VOCABULARIES[kind].facts]):
        table = tables.table(kind.value)
        types: dict[str, type[Scalar]] = {name: fact.type for name, fact in VOCABULARIES[kind].facts.items()}
        if kind in DEVICE_KINDS:
            types |= dict.fromkeys(VOCABULARIES[kind].registers, str)
        found[kind] = {name: _typed(table, name, type_, f"facts.{kind.value}.{name}") for name, type_ in types.items()}
        table.done()
    return found


def read_topology(table: Table) -> Topology:
    """The topology. Raises `MalformedEvidence` (POLICY_INVALID)."""
    return Topology(
        gpus=_typed(table, "gpus", int, "topology.gpus"),
        switches=_typed(table, "switches", int, "topology.switches"),
        alike=_typed(table, "alike", bool, "topology.alike"),
        linked=_typed(table, "linked", str, "topology.linked"),
    )


def _exactly(tables: Table, name: str, kinds: Collection[TEEKind]) -> list[TEEKind]:
    for kind in kinds:
        if kind.value not in tables.names():
            raise invalid(f"{name}.{kind.value}", "missing", "a table for every kind that tee allows")
    for kind_name in tables.names():
        if kind_name not in {kind.value for kind in kinds}:
            raise invalid(f"{name}.{kind_name}", "not of a kind that tee allows", "only such kinds")
    return sorted(kinds)


def _typed(table: Table, key: str, kind: type[Scalar], name: str) -> ReferenceValue:
    reference = table.reference(key)
    wrong = [value for value in scalars(reference) if type(value) is not kind]
    if wrong or (isinstance(reference, (AtLeast, AtMost)) and kind is not int):
        raise invalid(name, f"compared with another type than {kind.__name__}", f"values of type {kind.__name__}")
    return reference
