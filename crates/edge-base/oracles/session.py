#!/usr/bin/env python3
"""Makes tests/golden/xwing.txt and session.txt with nothing of this crate: hashlib, cryptography.

    pip install cryptography && python3 oracles/session.py TEST_VECTORS

TEST_VECTORS is spec/test-vectors.json of draft-connolly-cfrg-xwing-kem (commit 5cb311dc of its
repository; the values are those of the draft's appendix C). The handshake of session.txt is made of the first
vector: its key pair is the initiator's, its encapsulation the responder's.

Each file is hexadecimal, one value a line, `name = hex`.
"""
import hashlib
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
VECTORS = json.loads(pathlib.Path(sys.argv[1]).read_text())


def write(name, values):
    lines = [f"{key} = {value.hex()}\n" for key, value in values.items()]
    (FOLDER / f"{name}.txt").write_text("".join(lines))


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def tagged(tag, data):
    return hashlib.sha256(bytes([len(tag)]) + tag.encode() + data).digest()


def framed(data):
    return struct.pack("<Q", len(data)) + data


class Member:
    def __init__(self, seed):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))
        self.id = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def say(self, domain, pool, body):
        """The signed statement, and the digest that names it."""
        signs = framed(domain.encode()) + pool + framed(body)
        signature = self.key.sign(tagged("edge-net-1/signature", signs))
        return self.id + body + signature, tagged(domain, self.id + body)


def expand(key, info, length):
    return HKDFExpand(SHA256(), length, info).derive(key)


class Direction:
    """What one end encrypts: the layouts of session.rs written down a second time."""

    def __init__(self, session, key):
        self.session, self.key, self.phase, self.counter = session, key, 0, 0

    def encoded(self):
        bits = int.from_bytes(self.key, "big") << 15 | self.phase
        return (bits << 1).to_bytes(34, "big")

    def next(self):
        self.key = expand(self.key, b"edge-net/session/next/1" + self.encoded()[32:], 32)
        self.phase += 1

    def record(self, text):
        out = expand(self.key, b"edge-net/session/traffic/1" + self.encoded()[32:], 36)
        nonce = out[32:] + struct.pack(">Q", self.counter)
        associated = self.session + struct.pack(">HQ", self.phase, self.counter)
        sealed = AESGCM(out[:32]).encrypt(nonce, text, associated)
        whole = self.session + varint(self.phase) + varint(self.counter)
        self.counter += 1
        return whole + varint(len(sealed)) + sealed


def xwing():
    values = {}
    for number, vector in enumerate(VECTORS):
        for name in ("seed", "eseed", "ss", "pk", "ct"):
            values[f"{name}_{number}"] = bytes.fromhex(vector[name])
    write("xwing", values)


def session():
    vector = {name: bytes.fromhex(value) for name, value in VECTORS[0].items()}
    anna, ben, pool = Member(1), Member(2), hashlib.sha256(b"genesis").digest()
    body = ben.id + b"\x01" + varint(1216) + vector["pk"]
    opening, opening_digest = anna.say("session/opening", pool, body)
    body = anna.id + opening_digest + varint(1120) + vector["ct"]
    acceptance, acceptance_digest = ben.say("session/acceptance", pool, body)
    parts = pool + anna.id + ben.id + opening_digest + acceptance_digest
    transcript = tagged("session/transcript", parts)

    def derive(label):
        return HKDF(SHA256(), 32, transcript, b"edge-net/session/" + label).derive(vector["ss"])

    name = derive(b"id/1")[:16]
    first, second = Direction(name, derive(b"initiator/1")), Direction(name, derive(b"responder/1"))
    values = {
        "opening": opening,
        "acceptance": acceptance,
        "id": name,
        "key_0": first.encoded(),
        "initiator_0": first.record(b"between us"),
        "initiator_1": first.record(b""),
        "responder_0": second.record(b"and back"),
    }
    first.next()
    values["key_1"] = first.encoded()
    values["initiator_2"] = first.record(b"in the next phase")
    write("session", values)


xwing(), session()
