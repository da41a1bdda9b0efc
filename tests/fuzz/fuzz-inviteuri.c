/* Invitation URIs and relay URLs: what was read is written and read again as the same. */
#include <sodium.h>

#include "fuzz.h"
#include "liblinkproto/inviteuri.h"
#include "liblinkproto/regauth.h"

static void check_url(const char *text, size_t size)
{
        char *url = NULL, *again = NULL, origin[REGISTER_ORIGIN_MAX + 1];
        const char *fault = NULL;
        RelayUrl u;
        int r = relay_url_normalize(text, size, &url, &fault);

        CHECK(r == 0 || (r == -EINVAL && fault));
        if (r == 0) {
                CHECK(relay_url_normalize(url, strlen(url), &again, &fault) == 0);
                CHECK(strcmp(url, again) == 0);
                CHECK(relay_url_split(url, &u) == 0 && u.port && u.host[0]);
                CHECK(strcmp(u.origin, url + (u.tls ? 6 : 5)) == 0);
                CHECK(register_origin_of_url(url, origin, sizeof(origin)) == 0);
                CHECK(strcmp(origin, u.origin) == 0);
        }
        free(url);
        free(again);
}

static void check_split(const char *text, size_t size)
{
        _cleanup_(freep) char *z = strndup(text, size);
        RelayUrl u;
        int r;

        CHECK(z);
        r = relay_url_split(z, &u);
        CHECK(r == 0 || r == -EINVAL);
}

static void check_invitation(const char *text, size_t size)
{
        const char *fault = NULL;
        InviteUri a, b;
        int r = invite_uri_parse(text, size, &a, &fault);

        CHECK(r == 0 || (r == -EINVAL && fault));
        if (r < 0)
                return;
        CHECK(a.n_relays <= INVITE_RELAYS_MAX && strlen(a.address) == 43);
        if (a.code) {
                CHECK(a.code->len > 0 && a.code->len <= INVITE_CODE_MAX);
                CHECK(strlen((char *)a.code->data) == a.code->len);
                _cleanup_(secret_freep) Secret *s = invite_uri_format(
                        a.address, (char *)a.code->data, a.has_code_id ? a.code_id : NULL,
                        (const char *const *)a.relays, a.n_relays);
                CHECK(s && s->len <= INVITE_URI_MAX);
                CHECK(invite_uri_parse((char *)s->data, s->len, &b, &fault) == 0);
                CHECK(strcmp((char *)a.code->data, (char *)b.code->data) == 0);
                CHECK(a.has_code_id == b.has_code_id &&
                      memcmp(a.code_id, b.code_id, CODE_ID_BYTES) == 0);
                CHECK(a.n_relays == b.n_relays && strcmp(a.address, b.address) == 0);
                for (size_t i = 0; i < a.n_relays; i++)
                        CHECK(strcmp(a.relays[i], b.relays[i]) == 0);
                invite_uri_done(&b);
        }
        invite_uri_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        CHECK(sodium_init() >= 0);
        check_url((const char *)data, size);
        check_split((const char *)data, size);
        check_invitation((const char *)data, size);
        return 0;
}
