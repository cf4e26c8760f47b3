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

BLOCK = 128  # code points in a block; 2 classes of 4 bits in a byte
OTHER, SPACE, NUMBER, PUNCTUATION, SYMBOL, MARK, UPPER, LOWER, LETTER = range(9)  # as in unicode.h
CLASSES = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "L": LETTER, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL, "M": MARK}

# White_Space of PropList.txt: what \s means in the regular expressions of tokenizers. Python's str.isspace() adds
# four separators of ASCII and is not used.
SPACES = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def class_of(cp):
    if cp in SPACES:
        return SPACE
    category = unicodedata.category(chr(cp))
    return CLASSES.get(category, CLASSES.get(category[0], OTHER))


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
        block = [c[i] | c[i + 1] << 4 for i in range(0, BLOCK, 2)]
        if block not in blocks:
            blocks.append(block)
        index.append(blocks.index(block))
    assert len(blocks) <= 256 and len(classes) == 0xE0200

    print(f"/* Made by libslm/make_unicode.py from Unicode {VERSION}: do not edit. */")
    print('#include "unicode.h"\n\n/* clang-format off */')
    print("/* of each block of 128 code points, which of the blocks below it is */")
    print("const uint8_t slm__class_index[SLM__CLASS_END / 128] = {")
    rows(index)
    print("};\n")
    print("/* 2 code points in a byte, the lower in the low bits */")
    print(f"const uint8_t slm__class_blocks[{len(blocks)}][64] = {{")
    for b in blocks:
        print("    {" + ", ".join(str(n) for n in b) + "},")
    print("};")


main()
