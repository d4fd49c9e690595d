#!/usr/bin/env python3
"""Makes tests/golden/ledger.txt with nothing of this crate: hashlib, cryptography and postcard's rules.

    pip install cryptography && python3 oracles/golden.py

The file is hexadecimal, one value a line, `name = hex`.
"""
import hashlib
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "ledger.txt"


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def array(items):
    return varint(len(items)) + b"".join(items)


def tagged(tag, data):
    tag = tag.encode()
    return hashlib.sha256(bytes([len(tag)]) + tag + data).digest()


def framed(data):
    return struct.pack("<Q", len(data)) + data


def private(n):
    return Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))


def public(n):
    return private(n).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def signature(n, domain, body):
    message = framed(domain.encode()) + POOL + framed(body)
    return private(n).sign(tagged("edge-net-1/signature", message))


def signed(n, domain, body):
    return public(n) + body + signature(n, domain, body)


def sha(text):
    return hashlib.sha256(text.encode()).digest()


# Key 1 is founder and requester, 2 and 3 are workers, 4 to 7 the next witnesses.
GENESIS = (
    bytes([1])  # version
    + varint(0)  # Network::Test
    + public(1)
    + varint(10**12)
    + varint(6) + b"golden"
    + bytes([9] * 32)
)
POOL = tagged("edge-net-1/genesis", GENESIS)
MEMO, PAYLOAD, PINS, RESULT = sha("memo"), sha("payload"), sha("pins"), sha("result")
PRICES = array([varint(0) + varint(7), varint(2) + varint(9)])  # Embedding 7, VectorSearch 9


def block(seq, prev, kind, debit, credits, balance):
    return (
        public(1) + varint(seq) + prev + varint(0) + kind + varint(debit) + array(credits)
        + varint(balance)
    )


def block_hash(body):
    return tagged("ledger/block", public(1) + body)


def main():
    send = block(1, POOL, varint(1) + public(2) + varint(1_000) + MEMO, 1_000, [], 10**12 - 1_000)
    escrow_kind = varint(2) + varint(500_000) + PRICES + varint(100)
    escrow = block(2, block_hash(send), escrow_kind, 500_000, [], 10**12 - 501_000)
    escrow_id = block_hash(escrow)
    payments = sorted([(public(2), 100, 3), (public(3), 300, 1)])
    paid = array([worker + varint(amount) + varint(tasks) for worker, amount, tasks in payments])
    fee = -(-400 * 3_000 // 10**6)
    settle_kind = varint(3) + escrow_id + paid + varint(fee)
    credits = sorted([sha("first"), sha("second")])
    settle = block(3, escrow_id, settle_kind, 0, credits, 5)
    refund = block(4, block_hash(settle), varint(4) + escrow_id, 0, [], 2**64 - 1)
    opened = block(5, block_hash(refund), varint(0), 0, credits[:1], 0)
    stake = block(6, block_hash(opened), varint(5) + varint(700), 700, [], 300)
    unstake = block(7, block_hash(stake), varint(6) + varint(200), 0, [], 300)
    release = block(8, block_hash(unstake), varint(7) + block_hash(unstake), 0, [], 500)
    rotate = block(9, block_hash(release), varint(8) + public(2), 0, [], 500)

    vote = varint(1) + varint(0) + block_hash(send)
    votes = array([public(1) + signature(1, "ledger/vote", vote)])
    certificate = signed(1, "ledger/block", send) + varint(1) + votes
    members = sorted(public(n) for n in (4, 5, 6, 7))
    handover = (
        varint(1) + varint(1) + varint(2) + array(members)
        + array([public(1) + varint(1) + block_hash(send)])
    )

    task = tagged("edge-net-1/task", public(1) + varint(300) + varint(0) + PAYLOAD)

    def execution(worker):
        assignment = (
            task + public(1) + public(worker) + b"\x01" + escrow_id + varint(70) + varint(0) + PAYLOAD
            + varint(7) + PINS + varint(300)
        )
        nonce = bytes([worker] * 16)
        hidden = tagged("edge-net-1/commit", task + public(worker) + nonce + RESULT)
        commit = task + public(worker) + hidden
        reveal = task + public(worker) + nonce + RESULT
        return (
            signed(1, "task/assignment", assignment),
            signed(worker, "task/commit", commit),
            signed(worker, "task/reveal", reveal),
        )

    mine = execution(2)

    def vouch(worker, amount):
        body = escrow_id + public(1) + public(worker) + varint(amount) + varint(2)
        return signed(1, "task/voucher", body)

    voucher = vouch(2, 90)
    overdraft = array([vouch(worker, 90) for worker in sorted((2, 3), key=public)])

    values = {
        "genesis": GENESIS,
        "genesis_hash": POOL,
        "send": signed(1, "ledger/block", send),
        "send_hash": block_hash(send),
        "escrow": signed(1, "ledger/block", escrow),
        "settle": signed(1, "ledger/block", settle),
        "refund": signed(1, "ledger/block", refund),
        "open": signed(1, "ledger/block", opened),
        "stake": signed(1, "ledger/block", stake),
        "unstake": signed(1, "ledger/block", unstake),
        "release": signed(1, "ledger/block", release),
        "rotate": signed(1, "ledger/block", rotate),
        "vote": signed(1, "ledger/vote", vote),
        "certificate": certificate,
        "handover": signed(1, "ledger/handover", handover),
        "assignment": mine[0],
        "commit": mine[1],
        "reveal": mine[2],
        "voucher": voucher,
        "overdraft": overdraft,
        "fault_proof": b"".join(mine),
    }
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("".join(f"{name} = {value.hex()}\n" for name, value in values.items()))


main()
