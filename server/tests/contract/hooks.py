"""What schemathesis changes of the requests that it makes."""

import random
import re
import uuid

import schemathesis

KEY = "Idempotency-Key"
ALLOWED = re.compile("[!-~]([ -~]{0,253}[!-~])?")

# The lines of an exported collection are sent as they are.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keys are mostly new ones: a key that was used for another request hides what the call does."""
    headers = case.headers
    if not headers or KEY not in headers:
        return
    key = str(headers[KEY])
    if ALLOWED.fullmatch(key):
        if random.random() < 0.9:
            headers[KEY] = uuid.uuid4().hex
    elif ALLOWED.fullmatch(key.strip()):
        # Spaces at its ends do not reach the service, which would take it.
        headers[KEY] = "k" * 256
