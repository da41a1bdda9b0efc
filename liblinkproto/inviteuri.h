/* Invitation URIs: link:ADDRESS?code=CODE&id=CODEID&relay=URL&relay=URL, percent-encoded. */
#pragma once

#include "header.h"
#include "secret.h"

enum {
        INVITE_URI_MAX = 4096, /* characters */
        INVITE_RELAYS_MAX = 8,
        INVITE_CODE_MAX = 128, /* bytes; a recovery key or a typed password */
        RELAY_URL_MAX = 512,   /* characters */
};

typedef struct InviteUri {
        char address[44];
        Secret *code; /* owned; NULL if absent */
        bool has_code_id;
        uint8_t code_id[CODE_ID_BYTES];
        size_t n_relays;
        char *relays[INVITE_RELAYS_MAX]; /* owned, relay URLs as relay_url_normalize gives them */
} InviteUri;

/* 0; -EINVAL: *ret_fault says what is wrong, in words; -ENOMEM. Unknown parameters are ignored. */
int invite_uri_parse(const char *text, size_t len, InviteUri *ret,
                     const char **ret_fault) _must_use_;
void invite_uri_done(InviteUri *u);
/* The URI as text, NUL-terminated, in locked memory; NULL: out of memory. code_id NULL: none. */
Secret *invite_uri_format(const char *address, const char *code, const uint8_t *code_id,
                          const char *const *relays, size_t n_relays);

/* A relay URL: ws:// or wss://, host, optional port; a path of "/" or "/v1/link" is dropped (the
 * path is fixed), another one, a query, a fragment or user info is refused. *ret: new string
 * "scheme://host[:port]", host in lower case, default port left out. 0; -EINVAL with *ret_fault;
 * -ENOMEM. */
int relay_url_normalize(const char *text, size_t len, char **ret,
                        const char **ret_fault) _must_use_;

/* The pieces of a normalized URL. host without brackets. 0 or -EINVAL. */
typedef struct RelayUrl {
        bool tls;
        char host[256];
        uint16_t port;
        char origin[262]; /* host[:port] as it stands in Host (brackets kept) */
} RelayUrl;
int relay_url_split(const char *url, RelayUrl *ret) _must_use_;
