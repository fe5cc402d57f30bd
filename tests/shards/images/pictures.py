"""Pictures made on the spot, as files of any format."""

import io
import zlib

import numpy as np

RAMP = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (100, 1))
NOISE = np.random.default_rng(0).integers(0, 255, (100, 200), dtype=np.uint8)


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def flipped(data, position, bits=0x55):
    changed = bytearray(data)
    changed[position] ^= bits
    return bytes(changed)


def png_chunk(kind, body, *, is_wrong=False):
    return len(body).to_bytes(4) + kind + body + (zlib.crc32(kind + body) ^ int(is_wrong)).to_bytes(4)
