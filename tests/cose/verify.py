"""Verifies a ticket with a COSE implementation that is not Parlor's (pycose), from what the formats say.

    verify.py FILE ORIGIN

FILE is a ticket's envelope (COSE_Sign1, RFC 9052) as `parlor ticket show ID --cose FILE` writes it, ORIGIN the
PeerId of who should have signed it. Prints the claims as JSON; exits with 1 and one line if the ticket does not
verify. `verify.sh` runs it with its libraries.
"""

import json
import sys

import cbor2
from pycose.algorithms import EdDSA
from pycose.headers import Algorithm
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message

CONTEXT = b"parlor ticket v1"

# CWT claims (RFC 8392), then Parlor's own in the range for private use.
NAMES = {
    1: "iss", 2: "sub", 3: "aud", 4: "exp", 5: "nbf", 6: "iat", 7: "cti",
    -65537: "program", -65538: "copies", -65539: "tariff", -65540: "lease", -65541: "billing",
    -65542: "offline_issue",
}

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# A libp2p PeerId of an Ed25519 key: identity multihash over the protobuf-encoded key.
PEER_ID_PREFIX = bytes.fromhex("002408011220")


def public_key(peer):
    """The Ed25519 public key in a PeerId."""
    number = 0
    for character in peer:
        number = number * 58 + BASE58.index(character)
    raw = number.to_bytes(38, "big")
    if raw[:6] != PEER_ID_PREFIX:
        raise ValueError(f"not an Ed25519 peer id: {peer}")
    return raw[6:]


def verify(envelope, origin):
    """The claims of the ticket, if `origin` signed it."""
    message = Sign1Message.decode(envelope)
    if message.phdr != {Algorithm: EdDSA} or message.uhdr != {}:
        raise ValueError("other headers than {alg: EdDSA}")
    message.external_aad = CONTEXT
    message.key = OKPKey(crv=Ed25519, x=public_key(origin))
    if not message.verify_signature():
        raise ValueError("the signature is wrong")
    claims = cbor2.loads(message.payload)
    if claims[1] != origin:
        raise ValueError("the issuer is not who signed it")
    return {NAMES[key]: value.hex() if isinstance(value, bytes) else value for key, value in claims.items()}


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: verify.py FILE ORIGIN")
    with open(sys.argv[1], "rb") as file:
        envelope = file.read()
    try:
        claims = verify(envelope, sys.argv[2])
    except Exception as error:  # Whatever a broken file makes the libraries raise: it does not verify.
        sys.exit(f"does not verify: {error}")
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
