#include "credential.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "b64u.h"
#include "json.h"
#include "secret.h"

bool address_is_valid(const char *text, size_t len)
{
        uint8_t hash[32];

        return len == ADDRESS_CHARS && b64u_decode_exact(text, len, hash, sizeof(hash)) == 0;
}

Secret *credential_export(const Credential *c)
{
        char public[B64U_LEN(STATIC_KEY_BYTES) + 1], token[B64U_LEN(TOKEN_BYTES) + 1];
        char key_id[B64U_LEN(KEY_ID_BYTES) + 1], json[384];
        Secret *s;
        int n;

        b64u_encode(c->host_static_public, STATIC_KEY_BYTES, public);
        b64u_encode(c->token, TOKEN_BYTES, token);
        b64u_encode(c->key_id, KEY_ID_BYTES, key_id);
        n = snprintf(
                json, sizeof(json),
                "{\"address\":\"%s\",\"hostStaticPub\":\"%s\",\"token\":\"%s\",\"keyId\":\"%s\"}",
                c->address, public, token, key_id);
        s = n < 0 || (size_t)n >= sizeof(json) ? NULL : secret_new(B64U_LEN((size_t)n));
        if (s)
                b64u_encode((const uint8_t *)json, (size_t)n, (char *)s->data);
        sodium_memzero(token, sizeof(token));
        sodium_memzero(json, sizeof(json));
        return s;
}

/* A member that is the b64u of exactly n bytes. */
static int take_bytes(JsonSlice v, uint8_t *out, size_t n)
{
        char text[64];
        size_t len;
        int r = json_str_copy(v, text, sizeof(text), &len);

        if (r == 0)
                r = b64u_decode_exact(text, len, out, n);
        sodium_memzero(text, sizeof(text));
        return r;
}

static int parse(const char *json, size_t len, Credential *c)
{
        static const char *const names[] = {"address", "hostStaticPub", "token", "keyId"};
        JsonSlice v[ELEMENTSOF(names)];
        size_t n;

        if (json_scan_object(json, len, names, v, ELEMENTSOF(names)) < 0 ||
            json_str_copy(v[0], c->address, sizeof(c->address), &n) < 0 ||
            !address_is_valid(c->address, n) ||
            take_bytes(v[1], c->host_static_public, STATIC_KEY_BYTES) < 0 ||
            take_bytes(v[2], c->token, TOKEN_BYTES) < 0 ||
            take_bytes(v[3], c->key_id, KEY_ID_BYTES) < 0)
                return -EBADMSG;
        return 0;
}

int credential_import(const char *text, size_t len, Credential *ret)
{
        _cleanup_(secret_freep) Secret *json = NULL;
        Credential c = {};
        size_t n;
        int r;

        if (len > CREDENTIAL_STRING_MAX)
                return -EBADMSG;
        json = secret_new(len);
        if (!json)
                return -ENOMEM;
        r = b64u_decode(text, len, json->data, json->len, &n);
        if (r == 0)
                r = parse((const char *)json->data, n, &c);
        if (r == 0)
                *ret = c;
        sodium_memzero(&c, sizeof(c));
        return r < 0 ? -EBADMSG : 0;
}
