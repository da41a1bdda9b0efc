/* What a client keeps of a pairing, and its form as a string (PROTOCOL.md "Credential"). */
#pragma once

#include "header.h"

enum {
        ADDRESS_CHARS = 43,
        STATIC_KEY_BYTES = 32,
        TOKEN_BYTES = 32,
        CREDENTIAL_STRING_MAX = 4096, /* a reader takes unknown members and white space */
};

/* Holds a secret (token): part of a secret_object_new() object. */
typedef struct Credential {
        char address[ADDRESS_CHARS + 1];
        uint8_t host_static_public[STATIC_KEY_BYTES];
        uint8_t token[TOKEN_BYTES];
        uint8_t key_id[KEY_ID_BYTES];
} Credential;

/* Whether text is the b64u of 32 bytes. */
bool address_is_valid(const char *text, size_t len);

/* The string, NUL-terminated, in locked memory. NULL: out of memory. */
struct Secret *credential_export(const Credential *c);
/* Reads a string. 0; -EBADMSG: anything wrong with it; -ENOMEM. Wipes what it worked with. */
int credential_import(const char *text, size_t len, Credential *ret) _must_use_;
