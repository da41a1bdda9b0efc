/* base64url without padding (RFC 4648 section 5), strict: no padding, no other character, no stray
 * bits in the last character, no length of 4n+1. */
#pragma once

#include "util.h"

/* Length of the encoded text of n bytes, without a NUL. */
#define B64U_LEN(n) (((n)*4 + 2) / 3)

/* Encodes n bytes; out has room for B64U_LEN(n) + 1 and gets a NUL. */
void b64u_encode(const uint8_t *data, size_t n, char *out);
/* Decodes len characters into out (size bytes). *ret_n gets the length.
 * 0; -EINVAL: not strict base64url; -ENOBUFS: more than size. Constant time is not promised. */
int b64u_decode(const char *text, size_t len, uint8_t *out, size_t size, size_t *ret_n) _must_use_;
/* Decodes text that must stand for exactly n bytes. 0 or -EINVAL; out untouched then. */
int b64u_decode_exact(const char *text, size_t len, uint8_t *out, size_t n) _must_use_;
