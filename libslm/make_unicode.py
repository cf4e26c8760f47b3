#!/usr/bin/env python3
"""Write libslm/unicode_tab.c: the classes of code points that the splitters of text need.

    python3 libslm/make_unicode.py > libslm/unicode_tab.c

The version of Unicode is part of a tokenizer: a letter that was added later splits words elsewhere. Reference
tokenizers for GGUF files use 15.1, so this needs that one: Python 3.13 has it, others get it with
`pip install unicodedata2==15.1.0`.
"""
import sys

VERSION = "15.1.0"
try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

BLOCK = 128  # code points in a block; 4 classes of 2 bits in a byte
OTHER, LETTER, NUMBER, SPACE = range(4)
NEWLINE = 4  # only among the first 128

# White_Space of PropList.txt: what \s means in the regular expressions of tokenizers. Python's str.isspace() adds
# four separators of ASCII and is not used.
SPACES = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def class_of(cp):
    if cp in SPACES:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata.category(chr(cp))[0], OTHER)


def rows(numbers):
    for i in range(0, len(numbers), 20):
        print("    " + ", ".join(str(n) for n in numbers[i : i + 20]) + ",")


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"Unicode {unicodedata.unidata_version} here, {VERSION} wanted (see the top of this file)")
    classes = [class_of(cp) for cp in range(0x110000)]
    while classes[-BLOCK:] == [OTHER] * BLOCK:
        del classes[-BLOCK:]
    index, blocks = [], []
    for at in range(0, len(classes), BLOCK):
        c = classes[at : at + BLOCK]
        block = [c[i] | c[i + 1] << 2 | c[i + 2] << 4 | c[i + 3] << 6 for i in range(0, BLOCK, 4)]
        if block not in blocks:
            blocks.append(block)
        index.append(blocks.index(block))
    assert len(blocks) <= 256 and len(classes) <= 0x32400
    ascii_classes = [NEWLINE if chr(cp) in "\r\n" else classes[cp] for cp in range(128)]

    print(f"/* Made by libslm/make_unicode.py from Unicode {VERSION}: do not edit. */")
    print('#include "unicode.h"\n\n/* clang-format off */')
    print("const uint8_t slm__ascii_classes[128] = {")
    rows(ascii_classes)
    print("};\n")
    print("/* of each block of 128 code points, which of the blocks below it is */")
    print("const uint8_t slm__class_index[SLM__CLASS_END / 128] = {")
    rows(index)
    print("};\n")
    print("/* 4 code points in a byte, the lowest in the low bits */")
    print(f"const uint8_t slm__class_blocks[{len(blocks)}][32] = {{")
    for b in blocks:
        print("    {" + ", ".join(str(n) for n in b) + "},")
    print("};")


main()
