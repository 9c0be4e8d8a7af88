"""Verifies what Parlor signed with a COSE implementation that is not Parlor's (pycose), from what the formats say.

    verify.py FILE ORIGIN
    verify.py --proof FILE

The first: FILE is a ticket's envelope (COSE_Sign1, RFC 9052) as `parlor ticket show ID --cose FILE` writes it, ORIGIN
the PeerId of who should have signed it. Prints the claims as JSON. The second: FILE is the proof that a host gave one
slot to two members, as `parlor proof export ID FILE` writes it. Prints the claims of both slots. Only slots that the same
host granted by the same handover, or by none, are judged here. Exits with 1 and one line if FILE does not
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

TICKET = b"parlor ticket v1"
SLOT = b"parlor slot v1"
RELEASE = b"parlor release v1"

# CWT claims (RFC 8392), then Parlor's own in the range for private use.
NAMES = {
    1: "iss", 2: "sub", 3: "aud", 4: "exp", 5: "nbf", 6: "iat", 7: "cti",
    -65537: "program", -65538: "copies", -65539: "tariff", -65540: "lease", -65541: "billing",
    -65542: "offline_issue", -65543: "ticket", -65544: "k", -65545: "generation", -65546: "release",
    -65547: "slot", -65560: "handover",
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


def verify(envelope, signer, context):
    """The claims of the item, if `signer` signed it as an item of this kind; its own issuer if that is None."""
    message = Sign1Message.decode(envelope)
    if message.phdr != {Algorithm: EdDSA} or message.uhdr != {}:
        raise ValueError("other headers than {alg: EdDSA}")
    claims = cbor2.loads(message.payload)
    signer = signer or claims[1]
    message.external_aad = context
    message.key = OKPKey(crv=Ed25519, x=public_key(signer))
    if not message.verify_signature():
        raise ValueError("the signature is wrong")
    if claims[1] != signer:
        raise ValueError("the issuer is not who signed it")
    return {NAMES[key]: value.hex() if isinstance(value, bytes) else value for key, value in claims.items()}


def check_proof(proof):
    """The claims of the two slots in it, if they cannot both be an honest host's."""
    one, other = (verify(envelope, None, SLOT) for envelope in cbor2.loads(proof))
    for claim in ["iss", "ticket", "k", "handover"]:
        if one.get(claim) != other.get(claim):
            raise ValueError(f"the slots differ in {claim}")
    if one["generation"] == other["generation"]:
        if one["sub"] == other["sub"] and releaser(one) == releaser(other):
            raise ValueError("both slots are the same member's, and go on from the same one's")
    elif one["generation"] + 1 != other["generation"]:
        raise ValueError("the slots are not neighbours")
    elif releaser(other) == one["sub"]:
        raise ValueError("the second slot goes on from the first one's member")
    return [one, other]


def releaser(slot):
    """Who gave back what the slot goes on from; nobody for a first one."""
    if "release" not in slot:
        return None
    release = verify(bytes.fromhex(slot["release"]), None, RELEASE)
    fits = [release[claim] == slot[claim] for claim in ("ticket", "k")]
    if not all(fits) or release["generation"] + 1 != slot["generation"]:
        raise ValueError("a slot goes on from another number")
    return release["iss"]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: verify.py FILE ORIGIN | verify.py --proof FILE")
    is_proof = sys.argv[1] == "--proof"
    with open(sys.argv[2 if is_proof else 1], "rb") as file:
        content = file.read()
    try:
        claims = check_proof(content) if is_proof else verify(content, sys.argv[2], TICKET)
    except Exception as error:  # Whatever a broken file makes the libraries raise: it does not verify.
        sys.exit(f"does not verify: {error}")
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
