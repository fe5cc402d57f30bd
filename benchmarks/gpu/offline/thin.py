"""Makes DALI's libraries small for one kind of GPU, in place.

- Device code for other kinds, and PTX, becomes zeros where there is machine code for this one. The driver chooses an
  entry by its header, and headers, sizes and offsets stay (fat binaries: magic 0xBA55ED50, a header of 16 bytes,
  entries).
- Symbol tables that nothing loads become zeros.
- Libraries for video, audio, FITS and storage on the web are linked, and nothing here calls them: each becomes one of
  the same name with those of its symbols that others ask for, so that the loader is content.
"""

import mmap
import re
import struct
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Not libgoogle_cloud*: DALI builds its objects when it is loaded, and crashes on a stub.
_UNCALLED = ("libav*", "libsw*", "libaws-cpp-sdk-s3*", "libaws-cpp-sdk-core*", "libcfitsio*", "libsndfile*")
_BEHIND_THEM = ("libaws-c-*", "libaws-checksums*", "libaws-crt*", "libs2n*", "libopus*", "libFLAC*", "libogg*")
_MAGIC, _PTX, _MACHINE_CODE = 0xBA55ED50, 1, 2
_LOADED = 2  # a section's flag


def thin_libraries(site: Path, sm: int) -> None:
    """Of the packages in ``site``, for GPUs of compute capability ``sm`` (90 for 9.0). Needs binutils and cc.

    Raises:
        ValueError: a library is not as expected.
    """
    folder = site / "nvidia" / "dali" / ".libs"
    uncalled = [path for pattern in _UNCALLED for path in sorted(folder.glob(pattern))]
    for pattern in _BEHIND_THEM:
        for path in folder.glob(pattern):
            path.unlink()
    libraries = [path for path in sorted(site.glob("nvidia/**/*.so*")) if path.is_file() and path not in uncalled]
    asked = {symbol.name for path in libraries for symbol in symbols(path) if symbol.is_missing}
    for path in uncalled:
        replace_by_stub(path, asked)
    for path in libraries:
        empty_sections(path, sm)


def empty_sections(path: Path, sm: int) -> None:
    """Zeros in place of foreign device code and of symbol tables, in a 64-bit ELF file."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        if data[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path}: no ELF file of 64 bits")
        (table,) = struct.unpack_from("<Q", data, 0x28)
        size, number, names = struct.unpack_from("<HHH", data, 0x3A)
        heads = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(number)]
        for name_at, _, flags, _, offset, length in heads:
            start = heads[names][4] + name_at
            name = data[start : data.find(b"\0", start)]
            if name in (b".symtab", b".strtab") and not flags & _LOADED:
                data[offset : offset + length] = bytes(length)
            if name == b".nv_fatbin":
                _empty_fatbins(path, data, offset, offset + length, sm)


def _empty_fatbins(path: Path, data: mmap.mmap, at: int, end: int, sm: int) -> None:
    while at + 16 <= end:
        magic, _, head, total = struct.unpack_from("<IHHQ", data, at)
        if magic != _MAGIC:
            at += 8
            continue
        entry, last = at + head, at + head + total
        entries = []
        while entry + 64 <= last:
            kind, _, skip, length = struct.unpack_from("<HHIQ", data, entry)
            if kind not in (_PTX, _MACHINE_CODE) or skip < 64 or entry + skip + length > last:
                raise ValueError(f"{path}: device code of a kind that is not known, at {entry:#x}")
            (of,) = struct.unpack_from("<I", data, entry + 28)
            entries.append(((kind, of), entry + skip, length))
            entry += skip + length
        if any(kind == (_MACHINE_CODE, sm) for kind, _, _ in entries):
            for kind, start, length in entries:
                if kind != (_MACHINE_CODE, sm):
                    data[start : start + length] = bytes(length)
        at = last + -last % 8


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """One that a library offers, or, where it ``is_missing``, asks others for."""

    name: str
    version: str
    is_function: bool
    num_bytes: int
    is_missing: bool


def symbols(path: Path) -> Iterator[Symbol]:
    """Those of a library that the loader sees."""
    listed = subprocess.run(["readelf", "--dyn-syms", "-W", path], capture_output=True, text=True, check=True).stdout
    for fields in map(str.split, listed.splitlines()):
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            name, _, version = fields[7].partition("@")
            yield Symbol(
                name=name,
                version=version.lstrip("@"),
                is_function=fields[3] == "FUNC",
                num_bytes=int(fields[2], 0),
                is_missing=fields[6] == "UND",
            )


def replace_by_stub(path: Path, asked: set[str]) -> None:
    """A library of the same name that offers what others ask it for: functions that return 0, and objects of zeros."""
    dynamic = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    named = re.search(r"SONAME.*\[(.*)\]", dynamic)
    lines: list[str] = []
    versions: dict[str, list[str]] = defaultdict(list)
    seen = set()
    for symbol in symbols(path):
        name = symbol.name
        if symbol.is_missing or name not in asked or name in seen:
            continue
        seen.add(name)
        versions[symbol.version].append(f'"{name}";')
        if symbol.is_function:
            lines += [".text", f'.globl "{name}"', f'.type "{name}",@function', f'"{name}": xorl %eax,%eax', "ret"]
        else:
            space = max(symbol.num_bytes, 8)
            lines += [".bss", ".balign 16", f'.globl "{name}"', f'.type "{name}",@object']
            lines += [f'.size "{name}",{space}', f'"{name}": .zero {space}']
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "stub.s", Path(folder) / "versions"
        source.write_text("\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""]))
        parts = [f"{version} {{ global: {' '.join(names)} }};" for version, names in versions.items() if version]
        script.write_text("\n".join(parts))
        options = [f"-Wl,--version-script={script}"] if parts else []
        path.unlink()
        soname = f"-Wl,-soname,{named[1] if named else path.name}"
        subprocess.run(["cc", "-shared", "-nostdlib", soname, *options, "-o", path, source], check=True)
