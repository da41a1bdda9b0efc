/* A validating single-pass JSON scanner that cuts values out of a text and never rewrites them.
 *
 * A text is valid by RFC 8259, UTF-8 throughout (no overlong forms, no encoded surrogates), nested
 * at most JSON_DEPTH_MAX deep. Numbers of any size and precision, lone surrogate escapes and \u0000
 * are valid, duplicate members too (the last one wins): the envelope lets them through. No
 * recursion, no allocation. */
#pragma once

#include "util.h"

enum { JSON_DEPTH_MAX = 1024 };

/* Part of a text that somebody else owns, exactly as it stands there. p is NULL for an absent
 * member. No white space at either end. */
typedef struct JsonSlice {
        const char *p;
        size_t n;
} JsonSlice;

/* Checks that text is one object with nothing but white space around it and cuts out the values of
 * its top-level members named names[0..n_names) into values[]; the names are compared after their
 * escapes are resolved. Absent members get p = NULL.
 * 0, -EBADMSG (not one valid object), -E2BIG (nested too deep). values[] is written only on 0. */
int json_scan_object(const char *text, size_t len, const char *const *names, JsonSlice *values,
                     size_t n_names) _must_use_;

/* Checks that text is one valid value of any type with nothing but white space around it.
 * *ret (may be NULL) gets the value without that space. 0, -EBADMSG, -E2BIG. */
int json_scan_value(const char *text, size_t len, JsonSlice *ret) _must_use_;
/* The same for a value that will be a member of an object: one level less fits. */
int json_scan_member_value(const char *text, size_t len, JsonSlice *ret) _must_use_;

/* The functions below take slices that a scan above returned: valid values. */

bool json_is_null(JsonSlice v);
bool json_is_string(JsonSlice v);
bool json_is_object(JsonSlice v);
bool json_is_array(JsonSlice v);
bool json_is_number(JsonSlice v);
bool json_is_true(JsonSlice v);

/* Whether v is a string that reads s once its escapes are resolved. */
bool json_str_eq(JsonSlice v, const char *s);

/* Writes the string v, its escapes resolved to UTF-8, into buf, and its length to *ret_len; a NUL
 * follows it. A lone surrogate becomes U+FFFD, as a JavaScript peer's UTF-8 encoder has it.
 * 0; -EINVAL: not a string; -ENOBUFS: with its NUL it is longer than size; buf then holds the first
 * bytes of it, as many as fit, and no NUL. */
int json_str_copy(JsonSlice v, char *buf, size_t size, size_t *ret_len) _must_use_;
/* The same into a new string (free()). Also -ENOMEM; -EINVAL as well for a string that holds NUL.
 */
int json_str_dup(JsonSlice v, char **ret) _must_use_;

/* An integer: also written as 1.0 or 1e3 when it is whole and below 2^53, as JavaScript has it (in
 * fewer than 40 characters then; more are no integer). 0; -EINVAL: no integer; -ERANGE: not within
 * an int64_t. */
int json_int64(JsonSlice v, int64_t *ret) _must_use_;

/* Steps through an array: *iter starts as the array's slice; each call cuts the next element.
 * true: *elem was set. false: the end. */
bool json_array_next(JsonSlice *iter, JsonSlice *elem);
