# SPDX-License-Identifier: Apache-2.0
"""Who owns a user: the same answer as ldcgate's, from the definitions alone and with none of its code.

Slow, plain and independent: modulo is Python's own big integers, CRC-16/XMODEM goes bit by bit, XXH3 follows its
published specification. Tests import slot_of() and unit_of(); as a program it reads users, one
a line, and prints "slot unit" for each.

    printf '1001\\n' | python3 oracle.py --hash modulo --slots 100 --unit RZ01=00-33 --unit RZ02=34-99
"""
import argparse
import sys

MASK = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
P_MX1, P_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
SECRET_SIZE = 192


def crc16(data):
    """CRC-16/XMODEM: polynomial 0x1021, initial value 0, no reflection, no final xor."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


def _r32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _r64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _rotl(value, by):
    return (value << by | value >> (64 - by)) & MASK


def _swap64(value):
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def _avalanche64(h):
    h ^= h >> 33
    h = h * P64_2 & MASK
    h ^= h >> 29
    h = h * P64_3 & MASK
    return h ^ h >> 32


def _avalanche3(h):
    h ^= h >> 37
    h = h * P_MX1 & MASK
    return h ^ h >> 32


def _mix16(data, at, secret_at, seed):
    return _fold(_r64(data, at) ^ (_r64(SECRET, secret_at) + seed & MASK),
                 _r64(data, at + 8) ^ (_r64(SECRET, secret_at + 8) - seed & MASK))


def _upto16(data, seed):
    size = len(data)
    if size > 8:
        low = _r64(data, 0) ^ ((_r64(SECRET, 24) ^ _r64(SECRET, 32)) + seed & MASK)
        high = _r64(data, size - 8) ^ ((_r64(SECRET, 40) ^ _r64(SECRET, 48)) - seed & MASK)
        return _avalanche3(size + _swap64(low) + high + _fold(low, high) & MASK)
    if size >= 4:
        seed ^= int.from_bytes((seed & 0xFFFFFFFF).to_bytes(4, "little"), "big") << 32
        h = _r32(data, size - 4) + (_r32(data, 0) << 32) ^ ((_r64(SECRET, 8) ^ _r64(SECRET, 16)) - seed & MASK)
        h ^= _rotl(h, 49) ^ _rotl(h, 24)
        h = h * P_MX2 & MASK
        h ^= (h >> 35) + size
        h = h * P_MX2 & MASK
        return h ^ h >> 28
    if size > 0:
        combined = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
        return _avalanche64(combined ^ ((_r32(SECRET, 0) ^ _r32(SECRET, 4)) + seed & MASK))
    return _avalanche64(seed ^ _r64(SECRET, 56) ^ _r64(SECRET, 64))


def _upto240(data, seed):
    size = len(data)
    acc = size * P64_1 & MASK
    if size <= 128:
        for i in reversed(range((size - 1) // 32 + 1)):
            acc += _mix16(data, 16 * i, 32 * i, seed) + _mix16(data, size - 16 * (i + 1), 32 * i + 16, seed)
        return _avalanche3(acc & MASK)
    for i in range(8):
        acc += _mix16(data, 16 * i, 16 * i, seed)
    acc = _avalanche3(acc & MASK)
    for i in range(8, size // 16):
        acc += _mix16(data, 16 * i, 16 * (i - 8) + 3, seed)
    return _avalanche3(acc + _mix16(data, size - 16, 136 - 17, seed) & MASK)


def _accumulate(acc, data, at, secret, secret_at):
    for i in range(8):
        value = _r64(data, at + 8 * i)
        key = value ^ _r64(secret, secret_at + 8 * i)
        acc[i ^ 1] = acc[i ^ 1] + value & MASK
        acc[i] = acc[i] + (key & 0xFFFFFFFF) * (key >> 32) & MASK


def _scramble(acc, secret):
    for i in range(8):
        acc[i] = (acc[i] ^ acc[i] >> 47 ^ _r64(secret, SECRET_SIZE - 64 + 8 * i)) * P32_1 & MASK


def _long(data, seed):
    secret = b"".join((_r64(SECRET, 16 * i) + seed & MASK).to_bytes(8, "little") +
                      (_r64(SECRET, 16 * i + 8) - seed & MASK).to_bytes(8, "little") for i in range(SECRET_SIZE // 16))
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    size, stripes = len(data), (SECRET_SIZE - 64) // 8
    blocks = (size - 1) // (64 * stripes)
    for block in range(blocks):
        for i in range(stripes):
            _accumulate(acc, data, 64 * (block * stripes + i), secret, 8 * i)
        _scramble(acc, secret)
    start = blocks * 64 * stripes
    for i in range((size - 1 - start) // 64):
        _accumulate(acc, data, start + 64 * i, secret, 8 * i)
    _accumulate(acc, data, size - 64, secret, SECRET_SIZE - 64 - 7)
    result = size * P64_1
    for i in range(4):
        result += _fold(acc[2 * i] ^ _r64(secret, 11 + 16 * i), acc[2 * i + 1] ^ _r64(secret, 19 + 16 * i))
    return _avalanche3(result & MASK)


def xxh3(data, seed=0):
    """XXH3 with 64 bits."""
    return _upto16(data, seed) if len(data) <= 16 else _upto240(data, seed) if len(data) <= 240 else _long(data, seed)


def _tag(data):
    """Redis Cluster's rule: what stands between the first { and the next }, unless that is nothing."""
    start = data.find(b"{")
    end = data.find(b"}", start + 1) if start >= 0 else -1
    return data[start + 1:end] if end > start + 1 else data


def slot_of(hash, slots, user, salt=None, non_numeric=None):  # pylint: disable=redefined-builtin
    """The slot of USER, or None where the ID does not fit the hash."""
    data = user if isinstance(user, bytes) else user.encode()
    seed = 0 if salt is None else xxh3(salt.encode())
    if not data:
        return None
    if hash == "crc16":
        return crc16(_tag(data)) % slots
    if hash == "modulo":
        if all(0x30 <= byte <= 0x39 for byte in data):
            value = 0
            for at in range(0, len(data), 1000):  # Python refuses to read very long numbers at once
                part = data[at:at + 1000]
                value = (value * 10 ** len(part) + int(part)) % slots
            return value
        if non_numeric != "xxh3":
            return None
    elif hash != "xxh3":
        raise ValueError("unknown hash " + hash)
    return xxh3(data, seed) % slots


def parse_ranges(texts):
    """["00-33", "50"] -> [(0, 33), (50, 50)]"""
    parts = (text.partition("-") for text in texts)
    return [(int(first), int(last or first)) for first, _, last in parts]


def unit_of(units, slot):
    """UNITS: {"RZ01": ["00-33", "50"], ...}; the one unit that owns SLOT."""
    owners = [name for name, ranges in units.items() for first, last in parse_ranges(ranges) if first <= slot <= last]
    if len(owners) != 1:
        raise ValueError(f"slot {slot} has {len(owners)} owners")
    return owners[0]


def main():
    parser = argparse.ArgumentParser(description="Reads users, one a line; prints the slot and the unit of each.")
    parser.add_argument("--hash", required=True, choices=["modulo", "crc16", "xxh3"])
    parser.add_argument("--slots", required=True, type=int)
    parser.add_argument("--salt")
    parser.add_argument("--non-numeric", choices=["reject", "xxh3"], default="reject")
    parser.add_argument("--unit", action="append", required=True, metavar="NAME=RANGE,RANGE...")
    args = parser.parse_args()
    units = {name: ranges.split(",") for name, _, ranges in (text.partition("=") for text in args.unit)}
    owners = [unit_of(units, slot) for slot in range(args.slots)]
    for line in sys.stdin.buffer:
        slot = slot_of(args.hash, args.slots, line.rstrip(b"\n"), args.salt, args.non_numeric)
        print("-" if slot is None else f"{slot} {owners[slot]}")


if __name__ == "__main__":
    main()
