"""What schemathesis cannot know: how a CID is spelled, so that what it takes for a good request is one, and the tokens."""

import base64
import hashlib
import json
import os

import schemathesis
from hypothesis import strategies

RAW, DAG_PB, SHA2_256 = b"\x55", b"\x70", b"\x12\x20"


def spelled(content: bytes, codec: bytes) -> str:
    """The CID of version 1 that names this content, in base32."""
    key = b"\x01" + codec + SHA2_256 + hashlib.sha256(content).digest()
    return "b" + base64.b32encode(key).decode().lower().rstrip("=")


schemathesis.openapi.format(
    "cid", strategies.builds(spelled, strategies.binary(max_size=8), strategies.sampled_from([RAW, DAG_PB]))
)


ANNOUNCEMENT = json.loads(os.environ["ANCHORAGE_DEV"])


class Bearer:
    """A token that is there from the start."""

    def __init__(self, token: str):
        self.token = token

    def get(self, case, context):
        return self.token

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth().apply_to(tag="admin")
class Admin(Bearer):
    def __init__(self):
        super().__init__(ANNOUNCEMENT["adminToken"])


@schemathesis.auth().skip_for(tag=["admin", "probes"])
class Org(Bearer):
    def __init__(self):
        super().__init__(ANNOUNCEMENT["orgs"]["demo"])
