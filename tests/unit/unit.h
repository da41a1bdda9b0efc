/* What the unit tests share: cmocka with its includes, hex, and the vector files.
 *
 * A vector file counts its cases: every object that stands in an array, at any depth. Each test of
 * a file walks its lists by vectors_each(), and vectors_done() fails when a case was left out. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "liblinkproto/util.h"
#include "tests/fuzz/with-jansson.h"

typedef struct Bytes {
        size_t len;
        uint8_t data[2048];
} Bytes;

/* Decodes hex; fails the test on anything else. */
Bytes unhex(const char *hex);
void assert_bytes(const uint8_t *got, size_t len, Bytes expect);
#define assert_hex(got, len, hex) assert_bytes((got), (len), unhex(hex))

typedef struct Vectors {
        const char *name;
        json_t *root;
        size_t total;
        size_t taken;
} Vectors;

typedef void (*VectorCase)(Vectors *v, json_t *c);

/* Loads NAME.json of the data directory that meson names. */
Vectors vectors_load(const char *name);
/* Calls f for each case of the list named in object (NULL: the file's root). */
void vectors_each(Vectors *v, json_t *object, const char *list, VectorCase f);
/* Fails if any case was not taken; frees. */
void vectors_done(Vectors *v);

/* Members of a case; a missing one or another type fails the test. */
const char *case_str(json_t *c, const char *name);
Bytes case_hex(json_t *c, const char *name);
/* NULL if absent. */
const char *case_str_or_null(json_t *c, const char *name);

/* sodium_init() as a group set-up. */
int unit_setup(void **state);
#define unit_run(tests) cmocka_run_group_tests(tests, unit_setup, NULL)
