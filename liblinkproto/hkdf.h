/* HKDF-SHA256 (RFC 5869) on libsodium's HMAC. */
#pragma once

#include "util.h"

/* len at most 255 * 32. salt may be NULL with length 0. */
void hkdf_sha256(const uint8_t *ikm, size_t ikm_len, const uint8_t *salt, size_t salt_len,
                 const uint8_t *info, size_t info_len, uint8_t *out, size_t len);
