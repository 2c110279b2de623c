# SPDX-License-Identifier: Apache-2.0
"""From an opened call to what an engine takes: parsed, held to the model's interface, decoded.

With `batching` and `engines` this is where plaintext exists in a worker. Nothing here logs, and no text of an error
cites a value. The bytes go out of reach with the call; Python cannot overwrite them.
"""

from sealbid_oip.codec import Arrays, decode_checked_inputs
from sealbid_oip.messages import ModelInferRequest
from sealbid_oip.spec import ModelSpec
from sealbid_oip.validate import parse_request, validate_request

from attestation.sealing.incoming import OpenedCall


def open_request(opened: OpenedCall, spec: ModelSpec) -> tuple[ModelInferRequest, int, Arrays]:
    """The request, its batch rows and its inputs by name.

    Raises:
        Truncated: the request's final frame has not been opened.
        OIPError: it breaks the protocol or the model's interface, or names another model than the sealed header.
    """
    request = parse_request(opened.request.plaintext())
    rows = validate_request(request, spec)
    return request, rows, decode_checked_inputs(request)
