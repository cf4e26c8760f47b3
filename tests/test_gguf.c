/* Faults 1 to 26: what is wrong with a container, each with its status, a message that names the place, nothing held
 * afterwards and little taken before. Then every flipped bit. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../libslm/gguf.h"
#include "support/gguf_build.h"
#include "support/strict.h"
#include "support/suite.h"

static gguf_build b;
static slm_error err;

static void teardown(void) { gb_free(&b); }

#define ck_says(words) ck_assert_msg(strstr(err.message, words), "%s: %s", words, err.message)

static void refuse_bytes(const void *data, size_t n, slm_status expected, const char *name,
                         const char *says) {
    slm_status s = strict_parse(data, n, &err);
    ck_assert_msg(s == expected, "%s, expected %s: %s", slm_status_name(s),
                  slm_status_name(expected), s == SLM_OK ? "" : err.message);
    ck_says(name);
    ck_says(says);
    ck_says("byte");
}

/* The file in `b` is refused with this status and a message that holds both strings. Then `b` is empty again. */
static void refuse(slm_status expected, const char *name, const char *says) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    refuse_bytes(file, n, expected, name, says);
    gb_reset(&b);
}

static void accept(void) {
    size_t n;
    const void *file = gb_finish(&b, &n);
    slm_status s = strict_parse(file, n, &err);
    ck_assert_msg(s == SLM_OK, "%s: %s", slm_status_name(s), err.message);
    gb_reset(&b);
}

/* A key whose name and type are told in full; its value follows. */
static void begin_key(const char *name, uint64_t name_len, uint64_t name_bytes, uint32_t type) {
    gb_put_u64(&b.keys, name_len);
    gb_put(&b.keys, name, name_bytes);
    gb_put_u32(&b.keys, type);
    b.n_keys++;
}

/* Keys of every type, arrays, three tensors. */
static const void *good_file(size_t *n, size_t *data_begin) {
    static const float x[64] = {1, 2, 3};
    gb_reset(&b);
    gb_u32(&b, "general.alignment", 32);
    gb_str(&b, "general.name", "small \xff");
    gb_bool(&b, "t.bool", 1);
    gb_key_raw(&b, "t.u8", GB_U8, "\x07", 1);
    gb_key_raw(&b, "t.i16", GB_I16, "\x07\x80", 2);
    gb_u64(&b, "t.u64", UINT64_MAX);
    gb_f32(&b, "t.f32", 1e-5f);
    gb_key_raw(&b, "t.f64", GB_F64, "\0\0\0\0\0\0\xf0\x3f", 8);
    gb_str_array(&b, "t.strings", (const char *const[]){"one", "", "three"}, 3);
    gb_array(&b, "t.ints", GB_I32, (int32_t[]){1, -2, 3}, 3);
    gb_array(&b, "t.bools", GB_BOOL, (uint8_t[]){1, 0}, 2);
    gb_array(&b, "t.empty", GB_F32, NULL, 0);
    gb_tensor(&b, "vector", 0, 1, (int64_t[]){5}, x, 20);
    gb_tensor(&b, "blocks", 2, 2, (int64_t[]){32, 2}, x, 36);
    gb_tensor(&b, "cube", 1, 4, (int64_t[]){3, 2, 1, 2}, x, 24);
    const void *file = gb_finish(&b, n);
    *data_begin = *n - b.tensors.n;
    return file;
}

/* ---- A. Container ---- */

static void open_bytes(const void *data, size_t n, slm_status expected) {
    char path[] = "/tmp/slm_test_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
    close(fd);
    slm__gguf g;
    slm_allocator a = {0};
    ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), expected);
    unlink(path);
    strict_message(&err, expected);
    ck_says("byte");
}

START_TEST(test_fault_01_file_of_0_or_4_bytes) {
    refuse_bytes("", 0, SLM_ERR_TRUNCATED, "header", "needed");
    refuse_bytes("GGUF", 4, SLM_ERR_TRUNCATED, "header", "needed");
    open_bytes("", 0, SLM_ERR_TRUNCATED);
    open_bytes("GGUF", 4, SLM_ERR_TRUNCATED);
}
END_TEST

START_TEST(test_fault_02_cut_at_every_byte) {
    size_t n, data_begin;
    const uint8_t *file = good_file(&n, &data_begin);
    ck_assert_int_eq(strict_parse(file, n, &err), SLM_OK);
    for (size_t cut = 0; cut < n; cut++) {
        slm_status s = strict_parse(file, cut, &err);
        ck_assert_msg(s == SLM_ERR_TRUNCATED, "cut at %zu: %s %s", cut, slm_status_name(s),
                      s == SLM_OK ? "" : err.message);
        ck_says("byte");
        if (cut >= data_begin) ck_says("tensor");
    }
}
END_TEST

START_TEST(test_fault_03_bad_magic) {
    size_t n, data_begin;
    good_file(&n, &data_begin);
    uint8_t *file = strict_copy(b.file.data, n);
    static const char *const magics[] = {"GGUX", "gguf", "FUGG", "GGML", "tjgg", "\177ELF"};
    for (size_t i = 0; i < SLM_COUNT(magics); i++) {
        memcpy(file, magics[i], 4);
        refuse_bytes(file, n, SLM_ERR_FORMAT, "header", "GGUF");
    }
    ck_says("\\x7fELF");
    free(file);
}
END_TEST

START_TEST(test_fault_04_version_unknown) {
    size_t n, data_begin;
    good_file(&n, &data_begin);
    uint8_t *file = strict_copy(b.file.data, n);
    static const uint32_t versions[] = {0, 1, 4, UINT32_MAX, 0x01000000, 0x02000000, 0x03000000};
    for (size_t i = 0; i < SLM_COUNT(versions); i++) {
        memcpy(file + 4, &versions[i], 4);
        refuse_bytes(file, n, SLM_ERR_UNSUPPORTED, "header", "version");
        ck_assert_int_eq(strstr(err.message, "(big-endian)") != NULL, i >= 4);
    }
    for (uint32_t version = 2; version <= 3; version++) {
        memcpy(file + 4, &version, 4);
        ck_assert_int_eq(strict_parse(file, n, &err), SLM_OK);
    }
    free(file);
}
END_TEST

static const uint64_t huge_counts[] = {65537,           (uint64_t)1 << 31, (uint64_t)1 << 32,
                                       UINT64_MAX / 14, (uint64_t)1 << 63, UINT64_MAX - 7,
                                       UINT64_MAX};

START_TEST(test_fault_05_n_kv_beyond_the_file) {
    for (size_t i = 0; i < SLM_COUNT(huge_counts); i++) {
        gb_u32(&b, "k", 1);
        b.n_keys = huge_counts[i];
        refuse(SLM_ERR_LIMIT, "header", "keys");
    }
    b.n_keys = 65536; /* not too many, but not there */
    refuse(SLM_ERR_TRUNCATED, "header", "65536 keys");
    gb_u32(&b, "k", 1);
    b.n_keys = 2;
    refuse(SLM_ERR_TRUNCATED, "header", "2 keys");
}
END_TEST

START_TEST(test_smallest_keys_fill_a_file) {
    for (int i = 0; i < 26; i++) gb_key_raw(&b, (char[]){(char)('a' + i), '\0'}, GB_U8, "", 1);
    accept();
}
END_TEST

START_TEST(test_fault_06_n_tensors_beyond_the_file) {
    for (size_t i = 0; i < SLM_COUNT(huge_counts); i++) {
        gb_u32(&b, "k", 1);
        b.n_tensors = huge_counts[i];
        refuse(SLM_ERR_LIMIT, "header", "tensors");
    }
    b.n_tensors = 65536;
    refuse(SLM_ERR_TRUNCATED, "header", "65536 tensors");
}
END_TEST

START_TEST(test_fault_07_key_length) {
    static const uint64_t lengths[] = {
        0, 65536, (uint64_t)1 << 31, (uint64_t)1 << 63, UINT64_MAX - 31, UINT64_MAX};
    for (size_t i = 0; i < SLM_COUNT(lengths); i++) {
        gb_u32(&b, "first", 1);
        begin_key("wrong", lengths[i], 5, GB_U8);
        gb_put(&b.keys, "\0", 1);
        refuse(SLM_ERR_FORMAT, "key 1", "name of");
    }
    char *name = malloc(65535);
    ck_assert_ptr_nonnull(name);
    memset(name, 'n', 65535);
    begin_key(name, 65535, 65535, GB_U8);
    gb_put(&b.keys, "\0", 1);
    accept();
    free(name);
    gb_u32(&b, "first", 1);
    begin_key("wrong", 300, 5, GB_U8);
    gb_put(&b.keys, "\0", 1);
    refuse(SLM_ERR_TRUNCATED, "key 1", "300 bytes");
}
END_TEST

START_TEST(test_fault_08_string_past_the_end) {
    static const uint64_t lengths[] = {5,
                                       1000,
                                       (uint64_t)1 << 32,
                                       (uint64_t)1 << 63,
                                       UINT64_MAX - 60,
                                       UINT64_MAX - 8,
                                       UINT64_MAX - 1,
                                       UINT64_MAX};
    for (size_t i = 0; i < SLM_COUNT(lengths); i++) {
        begin_key("text", 4, 4, GB_STRING);
        gb_put_u64(&b.keys, lengths[i]);
        gb_put(&b.keys, "four", 4);
        refuse(SLM_ERR_TRUNCATED, "key 0 text", "needed");
        begin_key("texts", 5, 5, GB_ARRAY);
        gb_put_u32(&b.keys, GB_STRING);
        gb_put_u64(&b.keys, 2);
        gb_put_str(&b.keys, "good", 4);
        gb_put_u64(&b.keys, lengths[i]);
        gb_put(&b.keys, "four", 4);
        refuse(SLM_ERR_TRUNCATED, "key 0 texts", "needed");
    }
}
END_TEST

START_TEST(test_fault_09_duplicate_key) {
    gb_u32(&b, "twice", 1);
    gb_u32(&b, "twice", 1);
    refuse(SLM_ERR_FORMAT, "key 1 twice", "key 0");
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i % 999 + (i % 999 == 500));
        gb_u32(&b, name, 1); /* k501 twice, and k0 again at the end */
    }
    refuse(SLM_ERR_FORMAT, "key ", "the same name");
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i * 7919 % 1000);
        gb_u32(&b, name, 1);
    }
    accept();
    gb_u32(&b, "twic", 1); /* prefixes are other names */
    gb_u32(&b, "twice", 1);
    gb_u32(&b, "twicee", 1);
    accept();
}
END_TEST

START_TEST(test_fault_10_nul_in_key_and_odd_bytes_in_messages) {
    static const char *const names[] = {"\0bcd", "a\0cd", "abc\0"};
    for (size_t i = 0; i < SLM_COUNT(names); i++) {
        begin_key(names[i], 4, 4, GB_U8);
        gb_put(&b.keys, "\0", 1);
        refuse(SLM_ERR_FORMAT, "key 0", "NUL");
    }
    ck_says("abc\\x00");
    gb_str_n(&b, "values may hold anything", "\0\xff\x1b[31m\xc3", 8);
    gb_u32(&b, "and so may \xff\x1b[31m", 1);
    accept();
    gb_bool(&b, "\xff\x1b[31m\nline\\", 7);
    refuse(SLM_ERR_FORMAT, "\\xff\\x1b[31m\\x0aline\\x5c", "bool of 7");
    char long_name[2001];
    memset(long_name, '\xfe', 2000);
    long_name[2000] = 0;
    gb_bool(&b, long_name, 7);
    refuse(SLM_ERR_FORMAT, "\\xfe\\xfe...", "bool of 7");
}
END_TEST

START_TEST(test_fault_11_unknown_type) {
    static const uint32_t wrong[] = {13, 14, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        gb_key_raw(&b, "odd", wrong[i], "01234567", 8);
        refuse(SLM_ERR_FORMAT, "key 0 odd", "unknown type");
        for (int shift = 0; shift <= 60; shift += 20) { /* at once, however long */
            begin_key("odds", 4, 4, GB_ARRAY);
            gb_put_u32(&b.keys, wrong[i]);
            gb_put_u64(&b.keys, (uint64_t)1 << shift);
            refuse(SLM_ERR_FORMAT, "key 0 odds", "unknown type");
        }
    }
}
END_TEST

START_TEST(test_fault_12_nested_array) {
    for (int shift = 0; shift <= 60; shift += 20) {
        begin_key("nested", 6, 6, GB_ARRAY);
        gb_put_u32(&b.keys, GB_ARRAY);
        gb_put_u64(&b.keys, (uint64_t)1 << shift);
        gb_put_u32(&b.keys, GB_U8);
        gb_put_u64(&b.keys, 0);
        refuse(SLM_ERR_UNSUPPORTED, "key 0 nested", "array");
    }
}
END_TEST

START_TEST(test_fault_13_array_size_overflows) {
    static const struct {
        uint32_t type;
        uint64_t n;
    } wrong[] = {
        {GB_U8, UINT64_MAX},
        {GB_U8, (uint64_t)1 << 60},
        {GB_U16, UINT64_MAX / 2 + 2},
        {GB_F32, UINT64_MAX / 4 + 2},
        {GB_U64, UINT64_MAX / 8 + 2},
        {GB_F64, UINT64_MAX},
        {GB_BOOL, UINT64_MAX},
        {GB_STRING, UINT64_MAX / 8 + 2},
        {GB_STRING, (uint64_t)1 << 63},
        {GB_STRING, UINT64_MAX},
    };
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        begin_key("wide", 4, 4, GB_ARRAY);
        gb_put_u32(&b.keys, wrong[i].type);
        gb_put_u64(&b.keys, wrong[i].n);
        gb_put(&b.keys, "0123456789abcdef", 16);
        refuse(SLM_ERR_LIMIT, "key 0 wide", "array of");
    }
    /* sizes that could be, but are not there */
    begin_key("largest", 7, 7, GB_ARRAY);
    gb_put_u32(&b.keys, GB_U8);
    gb_put_u64(&b.keys, (uint64_t)1 << 44);
    refuse(SLM_ERR_TRUNCATED, "key 0 largest", "17592186044416 bytes");
    for (uint32_t type = 0; type < 13; type++) {
        if (type == GB_ARRAY) continue;
        begin_key("long", 4, 4, GB_ARRAY);
        gb_put_u32(&b.keys, type);
        gb_put_u64(&b.keys, 1 << 20);
        gb_put(&b.keys, "0123456789abcdef", 16);
        refuse(SLM_ERR_TRUNCATED, "key 0 long", "needed");
    }
}
END_TEST

START_TEST(test_fault_14_bool_neither_0_nor_1) {
    for (int v = 2; v < 256; v++) {
        gb_bool(&b, "flag", v);
        refuse(SLM_ERR_FORMAT, "key 0 flag", "bool");
    }
    for (size_t at = 0; at < 9; at++) {
        uint8_t flags[9] = {0, 1, 1, 0, 1, 0, 0, 0, 1};
        flags[at] = 2;
        gb_array(&b, "flags", GB_BOOL, flags, 9);
        refuse(SLM_ERR_FORMAT, "key 0 flags", "bool of 2");
    }
}
END_TEST

START_TEST(test_fault_15_known_key_of_wrong_type) {
    static const uint8_t zeros[16] = {0};
    for (uint32_t type = 0; type < 13; type++) {
        if (type == GB_F32 || type == GB_F64 || type == GB_BOOL || type == GB_STRING) {
            gb_key_raw(&b, "general.alignment", type, zeros,
                       type == GB_BOOL  ? 1
                       : type == GB_F32 ? 4
                                        : 8);
            refuse(SLM_ERR_TYPE, "general.alignment", "expected an integer");
        }
    }
    gb_array(&b, "general.alignment", GB_U32, (uint32_t[]){32}, 1);
    refuse(SLM_ERR_TYPE, "general.alignment", "array of u32");
}
END_TEST

START_TEST(test_fault_16_alignment_no_power_of_two) {
    static const uint32_t wrong[] = {
        0, 1, 2, 3, 4, 7, 9, 24, 33, 48, (1u << 20) + 1, 1u << 21, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        gb_u32(&b, "general.alignment", wrong[i]);
        refuse(SLM_ERR_RANGE, "general.alignment", "power of two");
    }
    gb_i32(&b, "general.alignment", -32);
    refuse(SLM_ERR_RANGE, "general.alignment", "negative");
    gb_u64(&b, "general.alignment", ((uint64_t)1 << 32) + 32);
    refuse(SLM_ERR_RANGE, "general.alignment", "power of two");
    for (uint32_t a = 8; a <= 1u << 20; a *= 2) {
        b.alignment = a;
        gb_tensor(&b, "a", 0, 1, (int64_t[]){3}, (float[]){1, 2, 3}, 12);
        gb_tensor(&b, "b", 0, 1, (int64_t[]){3}, (float[]){1, 2, 3}, 12);
        accept();
    }
}
END_TEST

/* ---- B. Tensor table ---- */

/* Directories of every length: padding of 0 to 31 bytes, and the data is found behind it. */
START_TEST(test_padding_of_every_length) {
    char name[40];
    memset(name, 'n', sizeof name);
    for (int len = 1; len <= 33; len++) {
        name[len] = '\0';
        gb_tensor(&b, name, 0, 1, (int64_t[]){2}, (float[]){1, (float)len}, 8);
        size_t n;
        const void *file = gb_finish(&b, &n);
        slm__gguf g;
        slm_allocator a = {0};
        ck_assert_int_eq(slm__gguf_parse(&g, file, n, &a, &err), SLM_OK);
        ck_assert(slm__read_f32(g.tensors[0].data + 4) == (float)len);
        slm__gguf_close(&g);
        accept();
        name[len] = 'n';
    }
}
END_TEST

static void raw_tensor(const char *name, uint32_t type, uint64_t d0, uint64_t d1, uint64_t offset) {
    gb_tensor_raw(&b, name, strlen(name), type, 2, (uint64_t[]){d0, d1}, offset);
}

static void data_bytes(size_t n) {
    static const uint8_t zeros[4096] = {0};
    gb_put(&b.tensors, zeros, n);
}

START_TEST(test_fault_17_tensor_name_too_long) {
    char name[80];
    memset(name, 'n', sizeof name);
    gb_tensor_raw(&b, name, 63, 0, 1, (uint64_t[]){1}, 0);
    data_bytes(4);
    accept();
    for (size_t len = 64; len <= 65; len++) {
        gb_tensor_raw(&b, name, len, 0, 1, (uint64_t[]){1}, 0);
        data_bytes(4);
        refuse(SLM_ERR_FORMAT, "tensor 0", "name of");
    }
    static const uint64_t lengths[] = {0, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < SLM_COUNT(lengths); i++) {
        gb_put_u64(&b.directory, lengths[i]);
        data_bytes(64);
        b.n_tensors = 1;
        refuse(SLM_ERR_FORMAT, "tensor 0", "name of");
    }
    gb_tensor_raw(&b, "a\0c", 3, 0, 1, (uint64_t[]){1}, 0);
    data_bytes(4);
    refuse(SLM_ERR_FORMAT, "tensor 0 a\\x00c", "NUL");
    for (int i = 0; i < 3; i++)
        gb_tensor(&b, i == 1 ? "other" : "same", 0, 1, (int64_t[]){1}, (float[]){1}, 4);
    refuse(SLM_ERR_FORMAT, "tensor 2 same", "tensor 0");
}
END_TEST

START_TEST(test_fault_18_too_many_dimensions) {
    static const uint32_t wrong[] = {0, 5, 6, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        gb_put_str(&b.directory, "t", 1);
        gb_put_u32(&b.directory, wrong[i]);
        for (int j = 0; j < 8; j++) gb_put_u64(&b.directory, 1);
        b.n_tensors = 1;
        refuse(SLM_ERR_FORMAT, "tensor 0 t", "dimensions");
    }
}
END_TEST

START_TEST(test_fault_19_dimension_0) {
    for (uint32_t n_dims = 1; n_dims <= 4; n_dims++) {
        for (uint32_t zero = 0; zero < n_dims; zero++) {
            uint64_t dims[4] = {32, 32, 32, 32};
            dims[zero] = 0;
            gb_tensor_raw(&b, "t", 1, 2, n_dims, dims, 0);
            data_bytes(64);
            char says[32];
            snprintf(says, sizeof says, "dimension %u is 0", zero);
            refuse(SLM_ERR_MISMATCH, "tensor 0 t", says);
        }
    }
}
END_TEST

START_TEST(test_fault_20_dimensions_negative_or_overflowing) {
    static const int64_t negative[] = {-1, INT64_MIN, -32};
    for (size_t i = 0; i < SLM_COUNT(negative); i++) {
        raw_tensor("t", 0, 32, (uint64_t)negative[i], 0);
        data_bytes(64);
        refuse(SLM_ERR_RANGE, "tensor 0 t", "dimension 1 is -");
    }
    static const uint64_t dims[][4] = {
        {(uint64_t)1 << 32, (uint64_t)1 << 31, 1, 1},
        {(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1}, /* wraps to 0 */
        {65536, 65536, 65536, 65536},
        {((uint64_t)1 << 32) + 32, (uint64_t)1 << 32, 1, 1},
        {INT64_MAX - 31, 2, 1, 1},
        {32, INT64_MAX, 1, 1},
    };
    for (size_t i = 0; i < SLM_COUNT(dims); i++) {
        for (uint32_t type = 0; type <= 2; type++) {
            gb_tensor_raw(&b, "t", 1, type, 4, dims[i], 0);
            data_bytes(64);
            refuse(SLM_ERR_RANGE, "tensor 0 t", "too many weights");
        }
    }
    raw_tensor("t", 0, (uint64_t)1 << 62, 1, 0); /* weights fit in 63 bits, bytes do not */
    data_bytes(64);
    refuse(SLM_ERR_RANGE, "tensor 0 t", "too many bytes");
    raw_tensor("t", 0, 4, ((uint64_t)1 << 60) + 1, 0);
    data_bytes(64);
    refuse(SLM_ERR_RANGE, "tensor 0 t", "too many bytes");
}
END_TEST

START_TEST(test_fault_21_padding_or_sum_wraps) {
    static const uint64_t offsets[] = {UINT64_MAX - 31, UINT64_MAX - 63, UINT64_MAX - 127};
    for (size_t i = 0; i < SLM_COUNT(offsets); i++) {
        raw_tensor("first", 0, 8, 1, 0);
        raw_tensor("t", 0, 32, 32, offsets[i]);
        data_bytes(64);
        refuse(SLM_ERR_RANGE, "tensor 1 t", "offset");
    }
    /* offset and size each fit, their sum does not: 2^63 + 2^63 */
    raw_tensor("t", 0, (uint64_t)1 << 60, 2, (uint64_t)1 << 63);
    data_bytes(64);
    refuse(SLM_ERR_RANGE, "tensor 0 t", "offset");
}
END_TEST

START_TEST(test_fault_22_type_of_weights_unknown) {
    static const uint32_t wrong[] = {UINT32_MAX, 1u << 31, 4,  5,  9,   31,  32,
                                     33,         36,       37, 38, 100, 255, 1000};
    for (size_t i = 0; i < SLM_COUNT(wrong); i++) {
        raw_tensor("t", wrong[i], 256, 1, 0);
        data_bytes(1024);
        char says[40];
        snprintf(says, sizeof says, "unknown type %d", (int)wrong[i]);
        refuse(SLM_ERR_UNSUPPORTED, "tensor 0 t", says);
    }
    for (int i = 0; i < SLM_N_TYPES; i++) {
        raw_tensor("t", slm__type_info[i].gguf_id, 256, 1, 0);
        data_bytes(1024);
        accept();
    }
}
END_TEST

START_TEST(test_fault_23_row_is_no_multiple_of_a_block) {
    for (int i = 0; i < SLM_N_TYPES; i++) {
        uint64_t block = slm__type_info[i].block_weights;
        const uint64_t rows[] = {1, block - 1, block + 1, block + block / 2, 3 * block - 1};
        for (size_t j = 0; j < SLM_COUNT(rows) && block > 1; j++) {
            /* as many weights in all as fill whole blocks */
            raw_tensor("t", slm__type_info[i].gguf_id, rows[j], block, 0);
            data_bytes(4096);
            refuse(SLM_ERR_FORMAT, "tensor 0 t", slm__type_info[i].name);
        }
    }
}
END_TEST

START_TEST(test_fault_24_offset_unaligned_or_overlapping) {
    static const uint64_t unaligned[] = {1, 4, 8, 16, 31, 33, 63};
    for (size_t i = 0; i < SLM_COUNT(unaligned); i++) {
        raw_tensor("t", 0, 1, 1, unaligned[i]);
        data_bytes(128);
        refuse(SLM_ERR_FORMAT, "tensor 0 t", "alignment");
    }
    raw_tensor("t", 0, 1, 1, 8);
    data_bytes(128);
    gb_u32(&b, "general.alignment", 8);
    accept();
    static const struct {
        uint64_t offset_a, floats_a, offset_b, floats_b;
        int good;
    } pairs[] = {
        {0, 8, 0, 8, 0},   {0, 9, 32, 8, 0},   {32, 8, 0, 9, 0},
        {0, 32, 32, 4, 0}, {64, 1, 32, 24, 0}, {32, 1, 32, 1, 0},
        {0, 8, 32, 8, 1},  {32, 8, 0, 8, 1},   {96, 8, 32, 16, 1},
    };
    for (size_t i = 0; i < SLM_COUNT(pairs); i++) {
        raw_tensor("a", 0, pairs[i].floats_a, 1, pairs[i].offset_a);
        raw_tensor("b", 0, pairs[i].floats_b, 1, pairs[i].offset_b);
        data_bytes(256);
        if (pairs[i].good)
            accept();
        else
            refuse(SLM_ERR_FORMAT, "tensor", "overlaps");
    }
    for (int i = 0; i < 200; i++) { /* from the last backwards; 5 is long */
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        raw_tensor(name, 0, i == 5 ? 9 : 8, 1, (uint64_t)(199 - i) / 2 * 32 + (i % 2 ? 0 : 3200));
    }
    data_bytes(4096);
    data_bytes(4096);
    refuse(SLM_ERR_FORMAT, "tensor 3 t3", "overlaps that of tensor 5 t5");
}
END_TEST

START_TEST(test_fault_25_tensor_past_the_end) {
    static const uint64_t offsets[] = {
        32, 64, 4096, (uint64_t)1 << 32, (uint64_t)1 << 40, (uint64_t)1 << 63};
    for (size_t i = 0; i < SLM_COUNT(offsets); i++) {
        raw_tensor("good", 0, 8, 1, 0);
        raw_tensor("t", 0, 8, 1, offsets[i]);
        data_bytes(offsets[i] == 32 ? 63 : 64);
        refuse(SLM_ERR_TRUNCATED, "tensor 1 t", "ends at");
    }
    raw_tensor("t", 2, (uint64_t)1 << 40, 1, 0);
    data_bytes(64);
    refuse(SLM_ERR_TRUNCATED, "tensor 0 t", "ends at");
    raw_tensor("t", 0, 8, 1, 0); /* a directory without any data, not even padding */
    refuse(SLM_ERR_TRUNCATED, "tensor 0 t", "ends at");
}
END_TEST

START_TEST(test_fault_26_sparse_file_of_100_terabytes) {
    int fd = memfd_create("sparse", 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "GGUF\3\0\0\0", 8), 8);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    /* the last could not be mapped by any machine: LIMIT shows that nobody tried */
    static const int64_t sizes[] = {((int64_t)1 << 44) + 1, 100000000000000, (int64_t)1 << 62};
    for (size_t i = 0; i < SLM_COUNT(sizes); i++) {
        ck_assert_int_eq(ftruncate(fd, sizes[i]), 0);
        double begin = strict_seconds();
        slm__gguf g;
        slm_allocator a = {0};
        ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), SLM_ERR_LIMIT);
        ck_assert_double_lt(strict_seconds() - begin, 1.0);
        strict_message(&err, SLM_ERR_LIMIT);
        ck_says("bytes");
        ck_assert_ptr_null(g.data);
    }
    ck_assert_int_eq(ftruncate(fd, (int64_t)1 << 33),
                     0); /* large, sparse, but lawful: no keys, no tensors */
    slm__gguf g;
    slm_allocator a = {0};
    ck_assert_int_eq(slm__gguf_open(&g, path, false, &a, &err), SLM_OK);
    ck_assert_int_eq(g.n_keys, 0);
    slm__gguf_close(&g);
    close(fd);
}
END_TEST

/* ---- Exhaustive ---- */

START_TEST(test_every_bit_flipped) {
    size_t n, data_begin;
    good_file(&n, &data_begin);
    uint8_t *file = strict_copy(b.file.data, n);
    long n_ok = 0, n_bad = 0;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (strict_parse(file, n, &err) == SLM_OK)
            n_ok++;
        else
            n_bad++;
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_gt(n_ok, 8 * (long)(n - data_begin)); /* weights and texts may be anything */
    ck_assert_int_gt(n_bad, 1000);
    free(file);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gguf");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, NULL, teardown);
    static const TTest *const *const tests[] = {
        &test_fault_01_file_of_0_or_4_bytes,
        &test_fault_02_cut_at_every_byte,
        &test_fault_03_bad_magic,
        &test_fault_04_version_unknown,
        &test_fault_05_n_kv_beyond_the_file,
        &test_smallest_keys_fill_a_file,
        &test_fault_06_n_tensors_beyond_the_file,
        &test_fault_07_key_length,
        &test_fault_08_string_past_the_end,
        &test_fault_09_duplicate_key,
        &test_fault_10_nul_in_key_and_odd_bytes_in_messages,
        &test_fault_11_unknown_type,
        &test_fault_12_nested_array,
        &test_fault_13_array_size_overflows,
        &test_fault_14_bool_neither_0_nor_1,
        &test_fault_15_known_key_of_wrong_type,
        &test_fault_16_alignment_no_power_of_two,
        &test_padding_of_every_length,
        &test_fault_17_tensor_name_too_long,
        &test_fault_18_too_many_dimensions,
        &test_fault_19_dimension_0,
        &test_fault_20_dimensions_negative_or_overflowing,
        &test_fault_21_padding_or_sum_wraps,
        &test_fault_22_type_of_weights_unknown,
        &test_fault_23_row_is_no_multiple_of_a_block,
        &test_fault_24_offset_unaligned_or_overlapping,
        &test_fault_25_tensor_past_the_end,
        &test_fault_26_sparse_file_of_100_terabytes,
        &test_every_bit_flipped,
    };
    for (size_t i = 0; i < SLM_COUNT(tests); i++) tcase_add_test(c, *tests[i]);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
