"""What schemathesis changes of the requests that it makes."""

import random
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation

KEY = "Idempotency-Key"

# The lines of an exported collection are sent as they are.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keys are mostly new ones: a key that was used for another request hides what the call does."""
    headers = case.headers
    if headers and KEY in headers and not case.meta.is_negative_at(ParameterLocation.HEADER):
        if random.random() < 0.9:
            headers[KEY] = uuid.uuid4().hex
