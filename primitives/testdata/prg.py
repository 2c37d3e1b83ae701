"""Independent computation of prg.json: pip install blake3 cryptography; python3 prg.py > prg.json"""

import json

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SEED, SET, SEGMENT, GATE, PART, FIELD, IMAGE = bytes([9] * 32), bytes([7] * 16), 3, 5, 1, 2, 4


def le(v, n):
    return v.to_bytes(n, "little")


def aes(key, block):
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def derive(context, data):
    return blake3(data, derive_key_context=context).digest()[:16]


part_key = derive("twoply 2026-11 part key v2", SEED + SET + le(SEGMENT, 4) + le(GATE, 4) + le(PART, 4))
owner_key = derive("twoply 2026-11 owner key v2", SEED + SET + le(SEGMENT, 4) + le(GATE, 4) + le(IMAGE, 8))


def tree_hash(key, s):
    hi, lo = s >> 64, s & (2**64 - 1)
    sigma = (hi ^ lo) << 64 | hi
    return le(int.from_bytes(aes(key, le(sigma, 16)), "little") ^ sigma, 16)


tile_key = derive("twoply 2026-11 half-tree tile key v1", SET + le(SEGMENT, 4) + le(GATE, 4) + le(PART, 4) + le(0, 8))
nodes = [0, 1, 2**128 - 1, 0x0123456789ABCDEF0011223344556677]
print(
    json.dumps(
        {
            "stream": b"".join(aes(part_key, le(FIELD << 64 | i, 16)) for i in range(3)).hex(),
            "owner_key": owner_key.hex(),
            "tree_hash": b"".join(tree_hash(tile_key, s) for s in nodes).hex(),
        },
        indent=1,
    )
)
