#!/usr/bin/env python3
"""Makes tests/golden/ with nothing of this crate: hashlib, cryptography, argon2-cffi, arithmetic.

    pip install cryptography argon2-cffi && python3 oracles/golden.py

Each file is hexadecimal, one value a line, `name = hex`.
"""
import base64
import hashlib
import pathlib
import struct

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"


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


def text(s):
    return varint(len(s.encode())) + s.encode()


def tagged(tag):
    """The beginning of a domain-separated SHA-256."""
    tag = tag.encode()
    size = bytes([len(tag)]) if len(tag) < 255 else b"\xff" + struct.pack("<Q", len(tag))
    return hashlib.sha256(size + tag)


def framed(data):
    return struct.pack("<Q", len(data)) + data


def public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw
    )


def sign(seed, domain, pool, message):
    digest = tagged("edge-net-1/signature")
    digest.update(framed(domain.encode()) + pool + framed(message))
    return Ed25519PrivateKey.from_private_bytes(seed).sign(digest.digest())


def codec():
    seed, pool = bytes([7] * 32), hashlib.sha256(b"genesis").digest()
    body = varint(300) + text("π")
    signer = public(seed)
    signed = signer + body + sign(seed, "golden/greeting", pool, body)
    name = tagged("golden/greeting")
    name.update(signer + body)

    def of_value(tag):
        digest = tagged(tag)
        digest.update(varint(300))
        return digest.digest()

    write("codec", {
        "node_id": signer,
        "digest": pool,
        "credits_zero": varint(0),
        "credits_1_5": varint(1_500_000),
        "credits_max": varint(2**64 - 1),
        "micros": varint(86_400_000_000),
        "signed": signed,
        "signed_frame": b"EN\x01\x09" + signed,
        "signed_digest": name.digest(),
        "digest_of_value": of_value("golden/value"),
        **{f"digest_of_value_tag_{n}": of_value("t" * n) for n in (254, 255, 256, 300)},
    })


def identity():
    key, genesis = public(bytes([7] * 32)), hashlib.sha256(b"genesis").digest()
    checked = key + b"\x11" + genesis[:2]
    bits = int.from_bytes(checked, "big") << 34
    bits |= int.from_bytes(hashlib.sha256(checked).digest(), "big") >> (256 - 34)
    whole = (bits << 6).to_bytes(40, "big")
    write("identity", {
        "identity": whole,
        "identity_text": b"pi" + base64.b32encode(whole).lower(),
        "short": "π:".encode() + key.hex()[:8].encode(),
        "label_main": ((int.from_bytes(genesis[:20], "big") << 8)).to_bytes(21, "big"),
        "label_test": ((int.from_bytes(genesis[:20], "big") << 1 | 1) << 7).to_bytes(21, "big"),
    })


def backup():
    salt, nonce = bytes(range(16)), bytes(range(16, 28))
    secret, password = b"\x07" * 32, b"correct horse"
    key = hash_secret_raw(password, salt, 3, 1 << 16, 1, 32, Type.ID)
    header = b"ENBK" + bytes([1, 16, 3, 1]) + salt + nonce
    write("backup", {"backup": header + AESGCM(key).encrypt(nonce, secret, header)})


def chacha8(key, words):
    """ChaCha with 8 rounds, a 64-bit counter and a zero nonce (Bernstein 2008)."""
    mask, out, counter = 0xFFFFFFFF, [], 0
    while len(out) < words:
        start = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
        start += [counter & mask, counter >> 32, 0, 0]
        x = start[:]

        def quarter(a, b, c, d):
            for left, right, turn, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[left] = (x[left] + x[right]) & mask
                x[turn] ^= x[left]
                x[turn] = (x[turn] << shift | x[turn] >> (32 - shift)) & mask

        for _ in range(4):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        out += [(a + b) & mask for a, b in zip(x, start)]
        counter += 1
    return out[:words]


def rng():
    def stream(key, count):
        return struct.pack(f"<{2 * count}I", *chacha8(key, 2 * count))

    derived = tagged("golden")
    derived.update(varint(42))
    numbers = struct.unpack("<64Q", stream(derived.digest(), 64))
    below = []
    for number in numbers:
        wide = number * 1000
        if wide % 2**64 >= 2**64 % 1000:
            below.append(wide >> 64)
    write("rng", {
        "zero_seed": stream(bytes(32), 40),
        "derived_42_golden": stream(derived.digest(), 40),
        "below_1000": struct.pack("<40H", *below[:40]),
    })


FOLDER.mkdir(parents=True, exist_ok=True)
codec(), identity(), backup(), rng()
