"""A handler's arguments and its result as JSON, and the sentence that names the bad field.

What is written has been read back first, by the decoder the worker will use: what comes back equal is safe.
Only what differs or fails is looked at piece by piece, so the common case costs a microsecond.
"""

from howdah.payload.fields import Fields
from howdah.payload.messages import Messages, encode_message
from howdah.payload.sentences import DEFAULT_MAX_BYTES, MAX_DEPTH
from howdah.payload.signature import Raw, Signature
from howdah.payload.values import loads, plain_json

__all__ = [
    "DEFAULT_MAX_BYTES",
    "MAX_DEPTH",
    "Fields",
    "Messages",
    "Raw",
    "Signature",
    "encode_message",
    "loads",
    "plain_json",
]
