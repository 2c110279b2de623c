# SPDX-License-Identifier: Apache-2.0
"""What AMD SEV-SNP reports state (SEV-SNP firmware ABI, AMD publication 56860)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary

SNP: Final = Vocabulary(
    registers=("launch", "host_data", "id_key", "author_key", "family_id", "image_id"),
    facts={
        "product": Fact(
            type=str,
            meaning='processor line by CPUID or endorsement key: "Milan", "Genoa", "Turin"',
            remedy="use Genoa or Turin: report keys of Milan chips can be extracted by software (arXiv 2605.12990)",
            reason=Reason.PRODUCT_REFUSED,
        ),
        "vmpl": Fact(
            type=int,
            meaning="privilege level the report was asked from, 0 the highest",
            remedy="ask for the report from the level the policy fixes",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
    },
)
