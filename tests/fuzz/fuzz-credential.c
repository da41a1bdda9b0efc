/* Credential strings: the input as such a string, and as the JSON inside one. */
#include <sodium.h>

#include "fuzz.h"
#include "liblinkproto/b64u.h"
#include "liblinkproto/credential.h"
#include "liblinkproto/secret.h"

static void check_import(const char *text, size_t len)
{
        Credential c, again;
        int r = credential_import(text, len, &c);

        CHECK(r == 0 || r == -EBADMSG);
        if (r < 0)
                return;
        CHECK(address_is_valid(c.address, strlen(c.address)));
        _cleanup_(secret_freep) Secret *s = credential_export(&c);
        CHECK(s && credential_import((char *)s->data, s->len, &again) == 0);
        CHECK(memcmp(&c, &again, sizeof(c)) == 0);
}

static void check_b64u(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = malloc(B64U_LEN(size) + 1);
        _cleanup_(freep) uint8_t *back = malloc(size + 1);
        size_t n = 0;

        CHECK(text && back);
        b64u_encode(data, size, text);
        CHECK(strlen(text) == B64U_LEN(size));
        CHECK(b64u_decode(text, strlen(text), back, size, &n) == 0);
        CHECK(n == size && memcmp(back, data, n) == 0);
        check_import(text, strlen(text));
        /* the input as text: whatever is taken is written back as it was, so there is one form only
         */
        if (b64u_decode((const char *)data, size, back, size, &n) == 0) {
                b64u_encode(back, n, text);
                CHECK(strlen(text) == size && memcmp(text, data, size) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CHECK(sodium_init() >= 0);
        check_import((const char *)data, size);
        check_b64u(data, size);
        return 0;
}
