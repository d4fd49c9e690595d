"""The `encryption` task in plain Python, from its definition (crates/edge-tasks/src/encryption.rs), RFC 5869
and draft-irtf-cfrg-xchacha-03: a second implementation that shares no code with the Rust one.

    python3 oracles/encryption.py           compares with crates/edge-tasks/tests/golden/encryption.json
    python3 oracles/encryption.py --write   writes that file

Needs nothing but the standard library. Checks itself against the AEAD example of the draft (A.3.1) first.
"""
import hashlib
import hmac
import json
import pathlib
import struct
import sys

GOLDEN = pathlib.Path(__file__).parent.parent / "crates/edge-tasks/tests/golden/encryption.json"
ALGORITHM = b"XChaCha20-Poly1305, HKDF-SHA-256 nonce, format 1"
CANON = b"canon-1"


# RFC 5869

def hkdf(ikm, salt, info, length):
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


# RFC 8439, section 2

def rotate(x, n):
    return (x << n | x >> (32 - n)) & 0xFFFFFFFF


def rounds(state):
    x = list(state)
    for _ in range(10):
        for a, b, c, d in [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]:
            for p, q, r, n in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
                x[p] = (x[p] + x[q]) & 0xFFFFFFFF
                x[r] = rotate(x[r] ^ x[p], n)
    return x


def state_of(key, tail):
    return struct.unpack("<16I", b"expand 32-byte k" + key + tail)


def stream(key, nonce12, counter, length):
    out = b""
    while len(out) < length:
        state = state_of(key, struct.pack("<I", counter) + nonce12)
        out += struct.pack("<16I", *[(a + b) & 0xFFFFFFFF for a, b in zip(rounds(state), state)])
        counter += 1
    return out[:length]


def poly1305(key, message):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\1", "little")) * r % (2 ** 130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2 ** 128).to_bytes(16, "little")


# draft-irtf-cfrg-xchacha-03, section 2

def xchacha20poly1305(key, nonce24, aad, data):
    words = rounds(state_of(key, nonce24[:16]))
    subkey = struct.pack("<8I", *words[:4], *words[12:])
    nonce12 = bytes(4) + nonce24[16:]
    text = bytes(a ^ b for a, b in zip(data, stream(subkey, nonce12, 1, len(data))))
    padded = lambda b: b + bytes(-len(b) % 16)
    message = padded(aad) + padded(text) + struct.pack("<QQ", len(aad), len(text))
    return text + poly1305(stream(subkey, nonce12, 0, 32), message)


def check_against_the_draft():
    text = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it.")
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = xchacha20poly1305(bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58)), aad, text)
    expected = ("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
                "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
                "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49")
    assert sealed.hex() == expected, sealed.hex()


# The task

def tagged(tag, *parts):
    return hashlib.sha256(bytes([len(tag)]) + tag + b"".join(parts)).digest()


def framed(part):
    return struct.pack("<Q", len(part)) + part


def case(key, request, data):
    key_id = tagged(b"tasks/encryption-key/1", key)
    version = b"\x01"
    aad = version + key_id
    cipher_key = hkdf(key, b"", b"edge-net/encryption/cipher-key/1", 32)
    nonce_key = hkdf(key, b"", b"edge-net/encryption/nonce-key/1", 32)
    info = b"edge-net/encryption/nonce/1" + hashlib.sha256(data).digest() + aad
    nonce = hkdf(nonce_key, request, info, 24)
    sealed = version + nonce + xchacha20poly1305(cipher_key, nonce, aad, data)
    pin = tagged(b"tasks/pin/encryption/1", framed(CANON), framed(ALGORITHM), key_id)
    return {"key": key.hex(), "request": request.hex(), "data": data.hex(), "id": key_id.hex(), "pin": pin.hex(),
            "sealed": sealed.hex()}


def cases():
    drawn = lambda what, n, length: hashlib.shake_128(f"{what} {n}".encode()).digest(length)
    keys = [bytes(32), bytes(range(32)), drawn("key", 0, 32), drawn("key", 1, 32)]
    lengths = [0, 1, 15, 16, 17, 63, 64, 65, 129, 1000]
    for n, length in enumerate(lengths):
        key, request = keys[n % len(keys)], drawn("request", n // 2, 16)
        yield case(key, request, drawn("data", n, length))
    # The same request number with other data, the same data with another number, another key.
    for key, request, data in [(keys[2], 1, b"one"), (keys[2], 1, b"two"), (keys[2], 2, b"one"), (keys[3], 1, b"one")]:
        yield case(key, drawn("request", request, 16), data)


def main():
    check_against_the_draft()
    text = "[\n" + ",\n".join(json.dumps(one) for one in cases()) + "\n]\n"
    if "--write" in sys.argv:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    if GOLDEN.read_text() != text:
        sys.exit(f"{GOLDEN} is another one")
    print(f"{text.count('sealed')} cases agree")


if __name__ == "__main__":
    main()
